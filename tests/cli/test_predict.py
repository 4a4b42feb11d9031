"""Segmentation as a user calls it: train, go on, evaluate, predict; `test_main.py` has the rest."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from cnn.__main__ import main
from cnn.data.scenes import CLASSES, scenes

ROOT = pathlib.Path(__file__).parents[2]
TINY = [
    f"--config={ROOT / 'configs/scenes/unet.py'}",
    "--config.model.widths=(4,8)",
    "--config.preprocess.image_size=32",
    "--config.data.options.scenes.size_px=32",
    "--config.data.options.scenes.num_train=48",
    "--config.data.options.scenes.num_eval=10",
    "--config.loader.batch_size=8",
    "--config.evaluation.batch_size=4",
    "--config.borders.weight=5",
    "--config.schedule.warmup_epochs=0",
    "--config.parallel.num_devices=2",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    directory = tmp_path_factory.mktemp("runs") / "scenes"
    assert main(["train", *TINY, "--config.train.num_steps=4", f"--workdir={directory}"]) == 0
    yield directory
    patch.undo()


@pytest.fixture
def picture(tmp_path):
    example = scenes(num_eval=1, size_px=60).eval[0]
    Image.fromarray(example["image"][..., 0]).save(tmp_path / "scene.png")
    return str(tmp_path / "scene.png")


def test_training_leaves_pixels_counted_and_shown(run, capsys):
    found = json.loads((run / "evaluation.json").read_text())
    assert found["unit"] == "pixels"
    assert sum(count for *_, count in found["confusion"]) == 10 * 32 * 32
    assert set(found["metrics"]) == {"miou", "dice", "pixel_accuracy"}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = {key: value for line in lines for key, value in line.items()}
    # The loop's sums and the examination count the same pixels.
    for name in ("miou", "dice", "pixel_accuracy"):
        assert last[f"eval/{name}"] == pytest.approx(found["metrics"][name], rel=1e-6)
    report = (run / "report.html").read_text()
    assert "each cell counts pixels" in report
    assert "largest share of wrong pixels" in report


def test_evaluate_prints_what_training_did(run, capsys):
    before = json.loads((run / "evaluation.json").read_text())
    assert main(["evaluate", f"--workdir={run}"]) == 0
    assert "(10 examples, 10,240 pixels)" in capsys.readouterr().out
    after = json.loads((run / "evaluation.json").read_text())
    assert before["metrics"].keys() == after["metrics"].keys()
    for name, value in before["metrics"].items():
        assert after["metrics"][name] == pytest.approx(value, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("windows", [[], ["--windows", "--overlap=0.25"]])
def test_predict_draws_regions_at_the_pictures_size(run, picture, tmp_path, capsys, windows):
    words = ["predict", f"--workdir={run}", "--json", f"--output={tmp_path / 'drawn'}"]
    assert main([*words, "--top=99", *windows, picture]) == 0
    shown = json.loads(capsys.readouterr().out)
    with Image.open(shown["drawn"]) as drawn, Image.open(shown["mask"]) as mask:
        assert (drawn.size, drawn.mode) == ((60, 60), "RGB")
        assert (mask.size, mask.mode) == ((60, 60), "P")
        counts = np.bincount(np.asarray(mask).reshape(-1), minlength=len(CLASSES))
    assert counts.sum() == 3600
    for name, share in shown["pixels"]:
        assert share == pytest.approx(counts[CLASSES.index(name)] / 3600)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a segmenter draws its regions: say where, --output=DIR"),
        (
            ["--output=drawn", "--windows", "--overlap=1"],
            "the overlap of windows must be in [0, 1)",
        ),
        (["--output=drawn", "--views=flip"], "evaluation.views must be 'center'"),
    ],
)
def test_mistakes_of_predict_are_one_clear_line(run, picture, capsys, monkeypatch, words, message):
    monkeypatch.chdir(run.parent)
    assert main(["predict", f"--workdir={run}", picture, *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["--config.data.source=mnist5k"],
            "learns classes of pixels, but mnist5k train has no masks",
        ),
        (
            ["--config.policy.name=rand_augment"],
            "policy.name must be 'none' where classes of pixels",
        ),
        (["--config.model.name=resnet50"], "unknown segmenter 'resnet50'"),
    ],
)
def test_mistakes_of_a_config_are_one_clear_line(tmp_path, capsys, changes, message):
    assert main(["train", *TINY, *changes, f"--workdir={tmp_path}"]) == 2
    assert message in capsys.readouterr().err
