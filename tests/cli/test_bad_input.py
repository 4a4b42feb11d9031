"""Whatever is wrong with the data is one clear line and exit code 2, or a counted warning."""

import csv
import io
import logging
import pathlib
import struct
import tarfile
import zlib

import numpy as np
import pytest
from PIL import Image

from cnn.__main__ import main

ROOT = pathlib.Path(__file__).parents[2]
RNG = np.random.default_rng(0)
CLASSES = ("cat", "dog")


@pytest.fixture(autouse=True)
def _own_compilation_cache(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")


def photo() -> bytes:
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


def bomb() -> bytes:
    """A PNG whose header promises 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))))
    )


def folder(root, per_class: int = 4) -> pathlib.Path:
    for part, count in (("train", per_class), ("val", 2)):
        for name in CLASSES:
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                (root / part / name / f"{i:03}.jpg").write_bytes(photo())
    return root


def inspect(root, source: str = "folder") -> int:
    config = f"--config={ROOT / 'configs/folder.py'}"
    words = [f"--config.data.source={source}", f"--config.data.root={root}"]
    size = "--config.preprocess.image_size=16"
    return main(["data", "inspect", config, *words, size, f"--sheet={root.parent / 'sheet.png'}"])


def train(root, workdir) -> int:
    changes = {
        "data.root": root,
        "model.name": "resnet_test",
        "preprocess.image_size": 16,
        "loader.batch_size": 10,
        "evaluation.batch_size": 4,
        "train.num_epochs": 1,
        "schedule.warmup_epochs": 0,
        "parallel.num_devices": 1,
    }
    words = [f"--config.{key}={value}" for key, value in changes.items()]
    return main(["train", f"--config={ROOT / 'configs/folder.py'}", f"--workdir={workdir}", *words])


BROKEN = {
    "empty": (b"", "the file is empty"),
    "truncated": (photo()[:-300], "truncated"),
    "text": (b"hello", "not an image"),
    "bomb": (bomb(), "which may be a decompression bomb"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_inspection_names_a_picture_that_cannot_be_read(name, tmp_path, capsys) -> None:
    content, message = BROKEN[name]
    root = folder(tmp_path / "photos")
    (root / "val" / "dog" / "001.jpg").write_bytes(content)
    assert inspect(root) == 2
    shown = capsys.readouterr().out
    assert "unreadable: 1\n    3: cannot read " in shown
    assert message in shown.split("unreadable: 1")[1].splitlines()[1]
    assert "dog/001.jpg" in shown


def no_class(root):
    (root / "train" / "empty").mkdir()


def new_class(root):
    (root / "val" / "zebra").mkdir()
    (root / "val" / "zebra" / "0.jpg").write_bytes(photo())


def no_pictures(root):
    for name in CLASSES:
        for path in (root / "val" / name).iterdir():
            path.rename(path.with_suffix(".txt"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_class, "train/empty' has no images"),
        (new_class, "has classes that the training folder has not: zebra (known: cat, dog)"),
        (no_pictures, "val/cat' has no images (known: bmp gif jpeg jpg"),
    ],
)
def test_a_folder_that_makes_no_sense_is_one_line(spoil, message, tmp_path, capsys) -> None:
    root = folder(tmp_path / "photos")
    spoil(root)
    for run in (inspect, lambda root: train(root, tmp_path / "run")):
        assert run(root) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.startswith("cnn: error: ")
        assert error.count("\n") == 1


def table(root):
    root.mkdir()
    (root / "0.jpg").write_bytes(photo())
    for part in ("train", "val"):
        with (root / f"{part}.csv").open("w", newline="") as file:
            rows = [("path", "label"), ("0.jpg", "a"), ("0.jpg", "b"), ("gone.jpg", "b")]
            csv.writer(file).writerows(rows)


def tar(root, label: bytes = b"1", keep: float = 1.0):
    root.mkdir()
    for part in ("train", "val"):
        with tarfile.open(root / f"{part}-0.tar", "w") as file:
            for i in range(20):
                for kind, data in (("jpg", photo()), ("cls", b"0" if i % 2 else label)):
                    member = tarfile.TarInfo(f"{i:03}.{kind}")
                    member.size = len(data)
                    file.addfile(member, io.BytesIO(data))
    path = root / "train-0.tar"
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    (root / "classes.txt").write_text("cat\ndog\n")


@pytest.mark.parametrize(
    ("make", "source", "message"),
    [
        (table, "table", "train.csv names 1 of 3 pictures that are not there, the first"),
        (lambda root: tar(root, keep=0.4), "shards", "train-0.tar: cut inside 0"),
        (lambda root: tar(root, label=b"2"), "shards", "labels from 0 to 2, but there are 2"),
        (lambda root: tar(root, label=b"dog"), "shards", "its name goes into classes.txt"),
    ],
)
def test_a_table_or_shard_that_is_wrong_is_one_line(make, source, message, tmp_path, capsys):
    make(tmp_path / "data")
    assert inspect(tmp_path / "data", source) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("cnn: error: ")
    assert error.count("\n") == 1


def test_training_passes_over_one_in_a_hundred_and_stops_above(tmp_path, capsys, caplog) -> None:
    root = folder(tmp_path / "photos", per_class=50)
    pictures = sorted((root / "train").rglob("*.jpg"))
    pictures[7].write_bytes(b"")
    with caplog.at_level(logging.WARNING, "cnn.data"):
        assert train(root, tmp_path / "one") == 0
    assert "skipped 1 of the 100 examples" in caplog.text
    assert f"{pictures[7]}: the file is empty" in caplog.text
    pictures[70].write_bytes(bomb())
    capsys.readouterr()
    assert train(root, tmp_path / "two") == 2
    error = capsys.readouterr().err
    assert "cnn: error: 2 of the 100 examples" in error
    assert "cannot be read, more than 1%" in error
    # An evaluation passes over none.
    pictures[70].write_bytes(photo())
    (root / "val" / "cat" / "000.jpg").write_bytes(b"")
    assert train(root, tmp_path / "three") == 2
    assert "val/cat/000.jpg: the file is empty" in capsys.readouterr().err
