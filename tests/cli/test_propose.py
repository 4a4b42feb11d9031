"""Proposals as a user gets and uses them: found, trained on, evaluated, predicted with."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from cnn.__main__ import main
from cnn.data.proposals import Scored, read_proposals, write_proposals
from cnn.data.scenes import scenes
from tests.cli.test_objects import TINY

FAST = ["--config.model.name=fast_rcnn_test", "--config.boxes.max_proposals=20"]
FAST_TINY = [word for word in TINY if "yolo_free" not in word and "model.levels" not in word]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The folder of proposals, and what was printed."""
    patch = pytest.MonkeyPatch()
    patch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    yield tmp_path_factory.mktemp("proposals")
    patch.undo()


@pytest.fixture(scope="module")
def run(found, tmp_path_factory):
    assert main(["data", "propose", *FAST_TINY, *FAST, f"--output={found}"]) == 0
    directory = tmp_path_factory.mktemp("runs") / "fast"
    assert main(["train", *FAST_TINY, *FAST, *flags(found), f"--workdir={directory}"]) == 0
    return directory


def flags(folder):
    return [f"--config.proposals.{part}={folder / part}.npz" for part in ("train", "eval")]


def test_proposing_says_what_is_covered(found, capsys):
    words = ["data", "propose", *FAST_TINY, f"--output={found / 'some'}", "--limit=7"]
    assert main(words) == 0
    *lines, hint = capsys.readouterr().out.splitlines()
    assert hint.split() == flags(found / "some")
    parts = scenes(num_train=48, num_eval=10, size_px=40, target="boxes")
    for line, part in zip(lines, parts, strict=True):
        numbers = re.search(r"each of 7 pictures; they cover (\d+) of (\d+) objects", line)
        assert numbers is not None, line
        assert int(numbers[2]) == sum(len(part[index]["boxes"]) for index in range(7))
        assert 0.5 * int(numbers[2]) < int(numbers[1]) <= int(numbers[2])
    assert read_proposals(found / "some" / "eval.npz").keys() == set("0123456")


def test_inspection_says_it_of_any_files(run, found, tmp_path, capsys):
    words = ["data", "inspect", *FAST_TINY, *flags(found), f"--sheet={tmp_path / 'sheet.png'}"]
    assert main(words) == 0
    assert len(re.findall(r"they cover \d+ of \d+ objects", capsys.readouterr().out)) == 2


def test_training_and_evaluation_with_proposals(run, capsys):
    before = json.loads((run / "evaluation.json").read_text())["metrics"]
    assert main(["evaluate", f"--workdir={run}"]) == 0
    assert "(10 examples, " in capsys.readouterr().out
    after = json.loads((run / "evaluation.json").read_text())["metrics"]
    assert after["ar10"] == pytest.approx(before["ar10"], abs=1e-3)


def test_predictions_by_selective_search_and_from_a_file(run, tmp_path, capsys):
    example = scenes(num_eval=1, size_px=40, target="boxes").eval[0]
    Image.fromarray(example["image"][:, :, 0]).save(tmp_path / "scene.png")
    words = ["predict", f"--workdir={run}", f"--output={tmp_path / 'drawn'}", "--score=0", "--json"]
    assert main([*words, str(tmp_path / "scene.png")]) == 0
    assert (tmp_path / "drawn" / "scene.png").exists()
    assert len(json.loads(capsys.readouterr().out)["objects"]) <= 6
    one = Scored(np.array([[5, 5, 30, 30]], np.float32), np.ones(1, np.float32))
    write_proposals(tmp_path / "own.json", {"scene": one})
    words.append(f"--proposals={tmp_path / 'own.json'}")
    assert main([*words, str(tmp_path / "scene.png")]) == 0
    (tmp_path / "scene.png").rename(tmp_path / "other.png")
    capsys.readouterr()
    assert main([*words, str(tmp_path / "other.png")]) == 2
    assert "own.json has no proposals of image_id 'other'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train", *FAST_TINY, *FAST],
            "fast_rcnn_test looks at proposals, and the config names none",
        ),
        (["train", *FAST_TINY, *FAST, "--config.proposals.train=x.npz"], "go together"),
        (
            ["train", *FAST_TINY, "--config.proposals.train=x.npz", "--config.proposals.eval=x"],
            "cannot read x.npz",
        ),
        (["data", "propose", *FAST_TINY], "say where, --output=DIR"),
        (
            ["data", "propose", *FAST_TINY, "--config.data.options.scenes.target=mask"],
            "scenes train has no boxes of objects to look for",
        ),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    if words[0] == "train":
        words = [*words, "--workdir=run"]
    elif "target=mask" in words[-1]:
        words = [*words, "--output=found"]
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
