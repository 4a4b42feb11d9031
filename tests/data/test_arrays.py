import gzip
import struct

import numpy as np
import pytest

from cnn.data.arrays import idx, npz, read_idx
from cnn.errors import UserError

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (12, 5, 4), np.uint8), np.arange(12, dtype=np.uint8) % 3
TEST = RNG.integers(0, 256, (4, 5, 4), np.uint8), np.arange(4, dtype=np.uint8) % 3


def as_idx(array: np.ndarray) -> bytes:
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


@pytest.fixture(params=["", ".gz"])
def folder(tmp_path, request):
    pack = gzip.compress if request.param else bytes
    for prefix, (images, labels) in (("train", TRAIN), ("t10k", TEST)):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            (tmp_path / f"{prefix}-{kind}-ubyte{request.param}").write_bytes(pack(as_idx(array)))
    return tmp_path


def npz_file(tmp_path, **changes):
    arrays = {"x_train": TRAIN[0], "y_train": TRAIN[1], "x_test": TEST[0], "y_test": TEST[1]}
    arrays = {name: array for name, array in {**arrays, **changes}.items() if array is not None}
    np.savez(tmp_path / "set.npz", **arrays)
    return tmp_path / "set.npz"


def check(sources) -> None:
    for source, (images, labels) in zip(sources, (TRAIN, TEST), strict=True):
        assert len(source) == len(images)
        assert source.info.class_names == ("0", "1", "2")
        for i in range(len(source)):
            np.testing.assert_array_equal(source[i]["image"], images[i][:, :, None])
            assert source[i]["label"] == labels[i]


def test_idx_files_packed_or_not(folder) -> None:
    check(idx(folder))


def test_idx_names_with_a_dot(folder) -> None:
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("-idx", ".idx"))
    check(idx(folder))


def test_npz_of_keras_and_of_medmnist(tmp_path) -> None:
    check(npz(npz_file(tmp_path)))
    np.savez(
        tmp_path / "med.npz",
        train_images=TRAIN[0],
        train_labels=TRAIN[1][:, None].astype(np.int64),
        test_images=TEST[0],
        test_labels=TEST[1][:, None],
    )
    check(npz(tmp_path / "med.npz"))


def test_colours_are_kept(tmp_path) -> None:
    images = RNG.integers(0, 256, (12, 5, 4, 3), np.uint8)
    train, _ = npz(npz_file(tmp_path, x_train=images))
    np.testing.assert_array_equal(train[3]["image"], images[3])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "no IDX file of unsigned bytes"),
        (lambda data: data[:3], "no IDX file"),
        (lambda data: data[:-1], r"promises 240 bytes of shape \(12, 5, 4\), it has 239"),
        (lambda data: data + b"x", "it has 241"),
        (lambda data: b"\x00\x00\x0d\x03" + data[4:], "no IDX file of unsigned bytes"),
        (lambda data: gzip.compress(data)[:-9], "end-of-stream"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path, damage, message) -> None:
    path = tmp_path / "images"
    path.write_bytes(damage(as_idx(TRAIN[0])))
    with pytest.raises(UserError, match=message) as caught:
        read_idx(path)
    assert "images" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path) -> None:
    with pytest.raises(UserError, match="no train-images-idx3-ubyte"):
        idx(tmp_path)
    with pytest.raises(UserError, match="is no folder"):
        idx(tmp_path / "gone")
    with pytest.raises(UserError, match=r"cannot read .*gone.npz: No such file"):
        npz(tmp_path / "gone.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, r"lacks x_test and y_test or .* \(known: x_train, y_train, x_test\)"),
        ({"y_train": TRAIN[1][:5]}, r"12 images and labels of shape \(5,\)"),
        ({"x_train": TRAIN[0].astype(np.float32)}, "images of float32"),
        ({"x_train": TRAIN[0][:, :, 0]}, r"uint8 \(12, 5\)"),
        ({"y_train": TRAIN[1] * 0.5}, "labels of float64"),
        ({"y_train": TRAIN[1].astype(np.int64) - 1}, "labels of int64 from -1 on"),
        ({"y_test": TEST[1] + 7}, "eval has the label 7, .* end at 2"),
        ({"x_train": TRAIN[0][:0], "y_train": TRAIN[1][:0]}, "0 images"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, message) -> None:
    with pytest.raises(UserError, match=message):
        npz(npz_file(tmp_path, **changes))


def test_a_damaged_npz_is_named(tmp_path) -> None:
    path = npz_file(tmp_path)
    for data in (path.read_bytes()[:-30], b"", b"hello"):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"cannot read .*set.npz: \S"):
            npz(path)
