"""The files in `saved` were written by torch 2.13 from tensors cut out of `arange(24)`."""

import io
import pathlib
import pickle
import tarfile
import zipfile

import ml_dtypes
import numpy as np
import pytest

from cnn.errors import UserError
from cnn.pretrained import torch_zip

SAVED = pathlib.Path(__file__).parent / "saved"
BASE = np.arange(24, dtype=np.float32)
TENSORS = {
    "whole": BASE.reshape(2, 3, 4),
    "part": BASE[5:8],
    "turned": BASE.reshape(4, 6).T,
    "half": BASE[:3].astype(np.float16),
    "brain": BASE[:3].astype(ml_dtypes.bfloat16),
    "double": BASE[:3].astype(np.float64),
    "flags": np.array([True, False]),
    "bytes": np.array([1, 255], np.uint8),
    "empty": np.zeros((0, 3), np.float32),
    "parameter": BASE[:2],
    "num_batches_tracked": np.array(7),
}


def assert_same(left, right):
    assert list(left) == list(right)
    for name, array in right.items():
        assert (left[name].dtype, left[name].shape) == (array.dtype, array.shape), name
        assert left[name].tobytes() == array.tobytes(), name


def test_what_torch_saved_is_read():
    content, notes = torch_zip.load(SAVED / "tensors.pth")
    assert_same(content, TENSORS)
    assert notes is None


def test_what_is_dumped_is_read_with_its_notes(tmp_path):
    (tmp_path / "x.pth").write_bytes(torch_zip.dump(TENSORS, {"a": [1]}))
    content, notes = torch_zip.load(tmp_path / "x.pth")
    assert_same(content, TENSORS)
    assert notes == {"a": [1]}


def test_what_is_dumped_is_described_as_torch_does():
    """torch's own reader admits no other words; the order of operations may differ."""

    def words(content, root):
        with zipfile.ZipFile(content) as archive:
            description = archive.read(f"{root}/data.pkl")
            assert archive.read(f"{root}/byteorder") == b"little"
            assert archive.read(f"{root}/version") == b"3\n"
        import pickletools

        operations = list(pickletools.genops(description))
        names = {argument for code, argument, _ in operations if code.name == "GLOBAL"}
        return names, {code.name for code, _, _ in operations}

    theirs = words(SAVED / "tensors.pth", "tensors")
    ours = words(io.BytesIO(torch_zip.dump(TENSORS)), "archive")
    assert ours[0] == theirs[0] - {"torch._utils _rebuild_parameter"}
    assert ours[1] <= theirs[1] | {"EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}


def test_equal_tensors_make_equal_files():
    assert torch_zip.dump(TENSORS) == torch_zip.dump(dict(TENSORS))


def test_a_type_that_torch_lacks_is_refused():
    with pytest.raises(UserError, match=r"'x' is of type complex64, which a .pth cannot hold"):
        torch_zip.dump({"x": np.zeros(1, np.complex64)})


def archive(path, description, **members):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", description)
        for name, content in members.items():
            file.writestr(f"archive/{name}", content)
    return path


class Code:
    """Unpickles by calling something."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, protocol):
    target = tmp_path / "run"
    code = Code(pathlib.Path.touch, target)
    path = archive(tmp_path / "x.pth", pickle.dumps({"weight": code}, protocol=protocol))
    with pytest.raises(UserError, match=r"names '.*', which is code and no tensor; nothing"):
        torch_zip.load(path)
    assert not target.exists()


@pytest.mark.parametrize(
    "name",
    [
        b"builtins\neval",
        b"os\nsystem",
        b"torch\nload",
        b"torch._utils\n_rebuild_tensor_v2.__call__",
    ],
)
def test_no_other_name_is_admitted(tmp_path, name):
    path = archive(tmp_path / "x.pth", b"\x80\x02c" + name + b"\n)R.")
    with pytest.raises(UserError, match="is code and no tensor"):
        torch_zip.load(path)


def test_a_whole_model_is_refused():
    with pytest.raises(UserError, match=r"names 'torch\.nn\.modules\.linear\.Linear'.*state_dict"):
        torch_zip.load(SAVED / "pickled.pth")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_one_line(tmp_path, share):
    content = (SAVED / "tensors.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="truncated") as caught:
        torch_zip.load(tmp_path / "x.pth")
    assert "\n" not in str(caught.value)


def test_every_flipped_byte_of_a_tensor_is_noticed(tmp_path):
    content = bytearray((SAVED / "tensors.pth").read_bytes())
    place = content.index(BASE.tobytes()) + 17
    content[place] ^= 1
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"damaged .*CRC"):
        torch_zip.load(tmp_path / "x.pth")


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    good = torch_zip.dump({"x": np.zeros(3, np.float32)})
    with zipfile.ZipFile(io.BytesIO(good)) as file:
        description = file.read("archive/data.pkl")
    # The shape (3,) as the pickle has it: K\x03\x85.
    wrong = description.replace(b"K\x03\x85", b"K\x7f\x85")
    assert wrong != description
    path = archive(tmp_path / "x.pth", wrong, **{"data/0": b"\0" * 12})
    with pytest.raises(UserError, match="reaches beyond its storage"):
        torch_zip.load(path)


def test_formats_that_are_not_read_are_told_apart(tmp_path):
    with pytest.raises(UserError, match=r"before 1\.6; convert it where torch is: python -c"):
        torch_zip.load(SAVED / "legacy.pth")
    with tarfile.open(tmp_path / "old.pth", "w") as tar:
        tar.addfile(tarfile.TarInfo("storages"))
    with pytest.raises(UserError, match=r"before 1\.6"):
        torch_zip.load(tmp_path / "old.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UserError, match=r"is no file of torch.save"):
        torch_zip.load(tmp_path / "text.pth")
    empty = pickle.dumps({}, protocol=2)
    with pytest.raises(UserError, match="a TorchScript program"):
        torch_zip.load(archive(tmp_path / "script.pt", empty, **{"constants.pkl": empty}))
    with pytest.raises(UserError, match="numbers are big-endian"):
        torch_zip.load(archive(tmp_path / "big.pth", empty, byteorder=b"big"))
    with zipfile.ZipFile(tmp_path / "other.pth", "w") as file:
        file.writestr("hello.txt", "hello")
    with pytest.raises(UserError, match=r"without torch's data.pkl"):
        torch_zip.load(tmp_path / "other.pth")
    with zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", empty * 100)
    with pytest.raises(UserError, match="is compressed"):
        torch_zip.load(tmp_path / "small.pth")
