"""Training that starts from weights, as a user calls it; `test_main.py` has the rest."""

import json
import pathlib

import jax
import numpy as np
import pytest

from cnn import pretrained
from cnn.__main__ import main
from tests.models.rows import build, images

ROOT = pathlib.Path(__file__).parents[2]
TINY = [
    f"--config={ROOT / 'configs/mnist5k/resnet8.py'}",
    "--config.model.name=resnet_test",
    "--config.preprocess.image_size=16",
    "--config.train.num_steps=2",
    "--config.schedule.warmup_epochs=0",
    "--config.parallel.num_devices=1",
]


@pytest.fixture(autouse=True)
def _own_compilation_cache(monkeypatch):
    """The commands would otherwise point JAX to the user's cache."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")


@pytest.fixture(scope="module")
def state():
    """Of 5 classes and 3 channels, while the digits have 10 and 1."""
    variables = jax.tree.map(np.asarray, build("resnet_test", images("resnet_test", 1))[1])
    return pretrained.to_torch("resnet_test", variables)


@pytest.fixture
def file(state, tmp_path):
    pretrained.write(tmp_path / "five.pth", state)
    return str(tmp_path / "five.pth")


def test_a_run_starts_from_a_file_and_goes_on_without_it(file, tmp_path, capsys):
    directory = tmp_path / "run"
    start = [f"--config.init.weights={file}", "--config.init.channels=sum"]
    words = ["train", *TINY, *start, f"--workdir={directory}"]
    assert main(words) == 0
    assert f"init: 29 arrays loaded from {file}; 1 adapted (first " in capsys.readouterr().out
    listed = json.loads((directory / "init.json").read_text())
    assert len(listed["loaded"]) == 29
    assert listed["adapted"] == {
        "params/backbone/stem_conv/kernel": "sum over channels, 3 -> 1",
    }
    assert set(listed["missing"]) == {"params/head/logits/bias", "params/head/logits/kernel"}
    assert json.loads((directory / "config.json").read_text())["init"]["weights"] == file
    pathlib.Path(file).unlink()
    assert main([*words, "--config.train.num_steps=3"]) == 0
    shown = capsys.readouterr().out
    assert "resuming after step 2 of 3" in shown
    assert "init: " not in shown
    # And another starts from the run, whose classes are its own.
    words = ["train", *TINY, f"--config.init.weights={directory}", f"--workdir={tmp_path / 'two'}"]
    assert main(words) == 0
    assert f"init: 32 arrays loaded from {directory}\n" in capsys.readouterr().out


def truncated(path, state):
    del state
    path.write_bytes(path.read_bytes()[:-100])


def another(path, state):
    pretrained.write(path, {f"blocks.{name}": array for name, array in state.items()})


def missing(path, state):
    pretrained.write(path, {k: v for k, v in state.items() if k != "bn1.weight"})


def extra(path, state):
    pretrained.write(path, {**state, "stranger.weight": np.ones(1, np.float32)})


def shape(path, state):
    pretrained.write(path, {**state, "bn1.weight": np.ones(9, np.float32)})


@pytest.mark.parametrize(
    ("spoil", "override", "message"),
    [
        (truncated, "channels=sum", "truncated"),
        (another, "channels=sum", "lacks 'conv1.weight' (it begins with 'blocks.conv1"),
        (missing, "channels=sum", "lacks 'bn1.weight'"),
        (extra, "channels=sum", "has 'stranger.weight'"),
        (shape, "channels=sum", "'bn1.weight' has shape (9,) in the state dict, and (8,)"),
        (None, "channels=error", "is for images of 3 channels, and these have 1"),
        (None, "channels=max", "unknown value of init.channels 'max'"),
        (None, "head=keep", "is for images of 3 channels"),
        (None, "weights=none.pth", "no weights 'none.pth'; they are a file"),
        (None, "weights=hf:a/b/c", "'hf:a/b/c' is no id of the Hub"),
        (None, "weight=x", "unknown key of config.init 'weight'; did you mean 'weights'"),
    ],
)
def test_weights_that_do_not_fit_are_one_line_and_nothing_is_written(
    file, state, tmp_path, capsys, spoil, override, message
):
    if spoil is not None:
        spoil(pathlib.Path(file), state)
    directory = tmp_path / "run"
    start = [f"--config.init.weights={file}", f"--config.init.{override}"]
    assert main(["train", *TINY, *start, f"--workdir={directory}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("cnn: error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not directory.exists() or not list(directory.iterdir())


def test_images_too_small_for_the_model_are_one_line_and_nothing_is_written(tmp_path, capsys):
    words = ["--config.model.name=alexnet_test", "--config.preprocess.image_size=8"]
    assert main(["train", *TINY, *words, f"--workdir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("cnn: error: images too small for this model")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
