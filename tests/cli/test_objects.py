"""Detection as a user calls it: train, go on, over devices, evaluate, predict."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from cnn import experiment as experiments
from cnn import train as loop
from cnn.__main__ import main
from cnn.cli import workdir
from cnn.data.digits import CLASS_NAMES
from cnn.data.scenes import scenes

ROOT = pathlib.Path(__file__).parents[2]
TINY = [
    f"--config={ROOT / 'configs/scenes/yolo.py'}",
    "--config.model.name=yolo_free_test",
    "--config.model.max_detections=6",
    "--config.model.levels=1",
    "--config.preprocess.image_size=32",
    "--config.data.options.scenes.size_px=40",
    "--config.data.options.scenes.num_train=48",
    "--config.data.options.scenes.num_eval=10",
    "--config.loader.batch_size=8",
    "--config.evaluation.batch_size=4",
    "--config.schedule.warmup_epochs=0",
    "--config.train.num_steps=4",
    "--config.train.log_every_steps=2",
    "--config.train.checkpoint_every_steps=2",
]
MESH = "--config.parallel.num_devices=2"


def train(directory, *words):
    assert main(["train", *TINY, *words, f"--workdir={directory}"]) == 0
    return directory


def lines(directory):
    text = (directory / "metrics.jsonl").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    return [
        {name: value for name, value in line.items() if not name.startswith("perf/")}
        for line in found
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    yield train(tmp_path_factory.mktemp("runs") / "yolo", MESH)
    patch.undo()


def test_training_leaves_objects_counted_and_shown(run):
    found = json.loads((run / "evaluation.json").read_text())
    assert found["unit"] == "objects"
    assert found["class_names"] == [*CLASS_NAMES, "nothing"]
    source = scenes(num_eval=10, size_px=40, target="boxes").eval
    true = sum(count for row, _, count in found["confusion"] if row < 10)
    assert true == sum(len(source[index]["boxes"]) for index in range(10))
    last = {key: value for line in lines(run) for key, value in line.items()}
    assert {f"eval/{name}" for name in ("loss", "ap", "ap50", "ap75", "box_loss")} <= set(last)
    # Of so little training all scores lie in few bins, so the two are not quite the same.
    for name in ("ap", "ap50", "ap75"):
        assert 0 <= last[f"eval/{name}"] <= 1
        assert 0 <= found["metrics"][name] <= 1
    report = (run / "report.html").read_text()
    assert "each cell counts objects" in report
    assert "largest share of wrong objects" in report


def state(directory):
    facts = workdir.read_facts(directory)
    config = workdir.for_reading(workdir.read_config(directory), None)
    experiment = experiments.build_without_data(config, facts)
    return workdir.restore(directory, experiment, None, False)


def test_a_run_that_goes_on_is_the_unbroken_one(run, tmp_path, capsys):
    again = tmp_path / "again"
    shutil.copytree(run, again)
    shutil.rmtree(again / "checkpoints" / "4")
    (again / "evaluation.json").unlink()
    train(again, MESH)
    assert "resuming after step 2 of 4" in capsys.readouterr().out
    assert lines(again) == lines(run)
    left, right = state(again), state(run)
    assert left[0] == right[0] == 4
    jax.tree.map(np.testing.assert_array_equal, left[1], right[1])


def test_numbers_are_those_of_replicas(run):
    """The first line of the log, of two steps."""
    config = workdir.read_config(run)
    config = {**config, "parallel": {**config["parallel"], "strategy": "pmap"}}
    experiment = experiments.build(config)
    state, tally = loop.blank_carry(experiment)
    step = loop.make_step(experiment.task, experiment.strategy)
    key = jax.random.split(jax.random.key(config["seed"]))[1]
    feed = experiment.feed(0)
    for _ in range(2):
        block, _ = feed.take(1, tally)
        state, tally = step(state, tally, block, key)
    feed.close()
    metrics = loop.scalars("train", experiment.strategy.fetch(tally.metrics))
    expected = lines(run)[0]
    assert len(metrics) == 4
    for name, value in metrics.items():
        assert value == pytest.approx(expected[name], rel=1e-3)


def test_evaluate_on_one_device_prints_what_training_did(run, capsys):
    before = json.loads((run / "evaluation.json").read_text())["metrics"]
    assert main(["evaluate", f"--workdir={run}"]) == 0
    assert "(10 examples, " in capsys.readouterr().out
    after = json.loads((run / "evaluation.json").read_text())["metrics"]
    assert before.keys() == after.keys()
    for name in ("ap", "ap50", "ar10"):
        assert after[name] == pytest.approx(before[name], abs=1e-3)


def test_predict_draws_boxes_at_the_pictures_size(run, tmp_path, capsys):
    example = scenes(num_eval=1, size_px=500).eval[0]
    Image.fromarray(example["image"][:400, :, 0]).save(tmp_path / "scene.png")
    words = ["predict", f"--workdir={run}", f"--output={tmp_path / 'drawn'}", "--score=0"]
    assert main([*words, "--json", str(tmp_path / "scene.png")]) == 0
    shown = json.loads(capsys.readouterr().out)
    with Image.open(shown["drawn"]) as drawn:
        assert (drawn.size, drawn.mode) == ((500, 400), "RGB")
    assert 1 <= len(shown["objects"]) <= 6
    for found in shown["objects"]:
        assert found["class"] in CLASS_NAMES
        y0, x0, y1, x1 = found["box"]
        # The middle is seen, 400 of 500 columns.
        assert 0 <= y0 < y1 <= 1
        assert 0.1 - 1e-6 <= x0 < x1 <= 0.9 + 1e-6
    assert np.all(np.diff([found["score"] for found in shown["objects"]]) <= 0)
    assert main([*words[:-1], "--score=1", str(tmp_path / "scene.png")]) == 0
    assert ": nothing  -> " in capsys.readouterr().out


def test_inspection_counts_objects_and_draws_what_is_seen(tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert main(["data", "inspect", *TINY, f"--sheet={sheet}"]) == 0
    assert "10 classes: most " in capsys.readouterr().out
    assert sheet.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a detector draws its boxes: say where, --output=DIR"),
        (["--output=drawn", "--windows"], "a detector sees a picture once and whole"),
        (["--output=drawn", "--score=2"], "--score must be between 0 and 1"),
        (["--output=drawn", "--views=flip"], "a detector sees a picture once and whole"),
    ],
)
def test_mistakes_of_predict_are_one_clear_line(run, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (40, 40)).save("gray.png")
    assert main(["predict", f"--workdir={run}", "gray.png", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--config.data.source=mnist5k"], "learns boxes of objects, but mnist5k train has no"),
        (["--config.data.options.scenes.target=mask"], "but scenes train has no boxes"),
        (["--config.policy.name=rand_augment"], "policy.name must be 'none' where boxes"),
        (["--config.model.name=resnet50"], "unknown detector 'resnet50'"),
    ],
)
def test_mistakes_of_a_config_are_one_clear_line(tmp_path, capsys, changes, message):
    assert main(["train", *TINY, *changes, f"--workdir={tmp_path}"]) == 2
    assert message in capsys.readouterr().err
