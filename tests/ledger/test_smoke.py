"""Every row of every paper, made small: its step is traced, and all run where that is asked for."""

import os
import pathlib

import jax
import pytest

from cnn import experiment as experiments
from cnn import models
from cnn.__main__ import main
from cnn.cli import config_file
from cnn.errors import UserError
from cnn.ledger import check, fingerprint, papers, smoke

ROOT = pathlib.Path(__file__).parents[2]
ROWS = {
    f"{paper.name}/{row.name}": row
    for paper, row in papers.select(papers.read_all(ROOT / "experiments"), "")
}
_traced = {}


def read(path, *words):
    return config_file.read(str(ROOT / path), list(words))


@pytest.mark.parametrize("name", ROWS)
def test_every_row_traces_one_update(name):
    config = smoke.shrink(check.build(ROOT / "experiments", ROWS[name], config_file.read))
    facts = experiments.DataFacts(tuple(map(str, range(10))), smoke.BATCH_SIZE, 10)
    experiment = experiments.build_without_data(config, facts)
    assert experiment.loop.num_steps == smoke.NUM_EPOCHS
    assert experiment.augment().sizes_px
    # Rows whose steps differ in numbers alone share a trace.
    parts = {section: config[section] for section in ("model", "task", "ema", "preprocess")}
    step = fingerprint.digest({**parts, "optimizer": {"name": config["optimizer"]["name"]}})
    if step not in _traced:
        batch = experiment.blank_batch(smoke.BATCH_SIZE)
        key = jax.random.key(0)
        state = jax.eval_shape(experiment.task.init, key, batch)
        _traced[step] = jax.eval_shape(experiment.task.step, state, batch, key)[1]
    assert "loss" in _traced[step]


@pytest.mark.skipif(os.environ.get("CNN_SMOKE") != "all", reason="CNN_SMOKE=all runs every row")
def test_every_row_runs(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    words = ["reproduce", "--smoke", f"--experiments={ROOT / 'experiments'}"]
    assert main(words) == 0


@pytest.mark.parametrize(
    ("name", "small"),
    [
        ("lenet5_1998", "lenet5_1998"),
        ("resnet20_cifar", "resnet_test"),
        ("resnet50", "resnet_test"),
        ("convnextv2_base", "convnextv2_test"),
        ("convnext_iso_base", "convnext_test"),
        ("deit_b_16_distilled", "deit_test"),
        ("deit3_b_16", "deit_test"),
        ("vit_b_16", "vit_test"),
        ("fcn_resnet50", "fcn_test"),
        ("yolo_free_n", "yolo_free_test"),
        ("dcgan_28", "dcgan_test"),
    ],
)
def test_small_models(name, small):
    assert smoke.small_model(name) == small


def test_every_model_has_a_small_one():
    assert all(smoke.small_model(name) in models.names() for name in models.names())
    with pytest.raises(UserError, match="did you mean 'resnet50'"):
        smoke.small_model("resnet500")


def test_the_recipe_stays_and_times_are_scaled():
    config = read(
        "configs/mnist5k/convnext.py",
        "--config.preprocess.image_size=256",
        "--config.train.num_epochs=300",
        "--config.schedule.warmup_epochs=20",
        "--config.by_epoch.sizes_px=(128,192)",
        "--config.by_epoch.from_epochs=(0,150)",
        "--config.model.norm_group_size=32",
        "--config.task.accumulate_steps=3",
    )
    small = smoke.shrink(config)
    kept = ("optimizer", "regularization", "augment", "policy", "filters", "ema", "seed")
    assert {name: small[name] for name in kept} == {name: config[name] for name in kept}
    assert small["task"] == {**config["task"], "accumulate_steps": 2}
    assert small["model"] == {
        **config["model"],
        "name": "convnext_test",
        "norm_group_size": 4,
    }
    assert small["schedule"]["name"] == "cosine"
    # 20 of 300 epochs of warm-up.
    assert small["schedule"]["warmup_epochs"] == pytest.approx(4 * 20 / 300)
    assert small["train"]["num_epochs"] == 4
    assert small["by_epoch"]["sizes_px"] == [16, 24]
    assert small["by_epoch"]["from_epochs"] == [0, 1]
    assert small["data"]["source"] == "synthetic"
    assert small["data"]["options"]["synthetic"]["num_classes"] == 1000
    assert small["preprocess"]["image_size"] == 32


def test_a_small_model_keeps_its_images():
    config = read("configs/mnist/lenet5.py")
    small = smoke.shrink(config)
    assert small["model"] == config["model"]
    assert small["preprocess"] == config["preprocess"]
    assert small["data"]["options"]["synthetic"]["channels"] == 1
