import pathlib

import numpy as np
import pytest
from PIL import Image

from cnn.__main__ import main

ROOT = pathlib.Path(__file__).parents[2]
RNG = np.random.default_rng(0)


@pytest.fixture
def photos(tmp_path):
    for part, count in (("train", 5), ("val", 2)):
        for name in ("cat", "dog"):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = RNG.integers(0, 256, (20, 30 + i, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "photos"


def inspect(photos, *words):
    return main(
        [
            "data",
            "inspect",
            f"--config={ROOT / 'configs/folder.py'}",
            f"--config.data.root={photos}",
            "--config.preprocess.image_size=16",
            f"--sheet={photos / 'sheet.png'}",
            *words,
        ]
    )


def test_a_good_folder_is_described_and_drawn(photos, capsys) -> None:
    (photos / "val/cat/0.png").write_bytes((photos / "train/dog/3.png").read_bytes())
    assert inspect(photos) == 0
    shown = capsys.readouterr().out
    for text in (
        "train: 10 examples",
        "eval: 4 examples",
        "2 classes: most dog (5), least cat (5)",
        "height 20 to 20 (median 20), width 30 to 34 (median 32)",
        "unreadable: 0",
        "same pixels: 1 in both parts, 0 twice in training",
        "training 8 is evaluation 0",
        "images/s; read ",
        " decode ",
        " augment ",
        " transfer ",
    ):
        assert text in shown
    with Image.open(photos / "sheet.png") as sheet:
        assert sheet.size == (8 * 18 - 2, 2 * 18 - 2)


def test_what_cannot_be_read_is_listed_and_the_exit_code_says_so(photos, capsys) -> None:
    for i in range(2):
        path = photos / f"train/cat/{i}.png"
        path.write_bytes(path.read_bytes()[:50])
    # More than one in a hundred: training would stop, so there is no sheet of it.
    assert inspect(photos) == 2
    captured = capsys.readouterr()
    assert "unreadable: 2" in captured.out
    assert "train/cat/0.png" in captured.out
    assert "cannot be read, more than 1%" in captured.err


def test_mistakes_are_one_line(photos, capsys) -> None:
    for words, message in (
        (["--limit=-1"], "--limit must be at least 0"),
        (["--config.data.source=folders"], "did you mean 'folder'"),
        ([f"--sheet={photos}/no/such/place.png"], "cannot write --sheet"),
    ):
        assert inspect(photos, *words) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
