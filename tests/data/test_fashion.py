import gzip
import struct

import numpy as np
import pytest

from cnn.data import fashion
from cnn.data.fashion import CLASS_NAMES, fashion_mnist
from cnn.data.sources import open_sources
from cnn.errors import UserError

RNG = np.random.default_rng(0)


def write(folder, highest: int = 9) -> None:
    folder.mkdir(parents=True)
    for prefix, count in (("train", 30), ("t10k", 20)):
        images = RNG.integers(0, 256, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % (highest + 1)).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            data = gzip.compress(head + array.tobytes())
            (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(data)


def test_the_classes_have_their_names(tmp_path) -> None:
    write(tmp_path / "files")
    train, held_out = fashion_mnist(tmp_path / "files")
    assert (len(train), len(held_out)) == (30, 20)
    assert train.info.class_names == held_out.info.class_names == CLASS_NAMES
    assert train[7]["image"].shape == (28, 28, 1)
    assert CLASS_NAMES[int(train[7]["label"])] == "Sneaker"


@pytest.mark.parametrize("where", ["share/dataset-fashion-mnist", "share/datasets/fashion"])
def test_debians_package_is_found_wherever_it_lies(tmp_path, monkeypatch, where) -> None:
    write(tmp_path / where)
    listed = [tmp_path, *sorted((tmp_path / where).iterdir())]
    info = tmp_path / "info"
    info.mkdir()
    (info / "dataset-fashion-mnist.list").write_text("".join(f"{path}\n" for path in listed))
    monkeypatch.setattr(fashion, "DPKG", info)
    options = {"name": "", "train_split": "", "eval_split": "", "eval_fraction": 0.2}
    sources = open_sources(source="fashion_mnist", root="", cache_mb=0, options={}, **options)
    assert len(sources.train) == 30


@pytest.mark.parametrize("listed", [None, "/usr/share/doc/x\n/gone/train-images-idx3-ubyte.gz\n"])
def test_without_the_files_the_error_says_where_to_get_them(tmp_path, monkeypatch, listed) -> None:
    monkeypatch.setattr(fashion, "DPKG", tmp_path)
    if listed is not None:
        (tmp_path / "dataset-fashion-mnist.list").write_text(listed)
    with pytest.raises(
        UserError, match=r"set data.root .* \(apt-get install dataset-fashion-mnist"
    ):
        fashion_mnist("")


def test_more_classes_than_names_are_refused(tmp_path) -> None:
    write(tmp_path / "files", highest=11)
    with pytest.raises(UserError, match=r"label 11, but there are 10 classes \(T-shirt/top"):
        fashion_mnist(tmp_path / "files")
