import pathlib

import ml_dtypes
import numpy as np
import pytest

from cnn.errors import UserError
from cnn.pretrained import files, torch_zip
from cnn.pretrained.facts import Facts, Preprocessing

SAVED = pathlib.Path(__file__).parent / "saved"
TENSORS = {
    "fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "fc.bias": np.ones(3, ml_dtypes.bfloat16),
    "bn.num_batches_tracked": np.array(5),
}
FACTS = Facts("resnet18", {"version": "v1"}, Preprocessing(96, crop_fraction=0.9), ("cat", "dög"))


@pytest.mark.parametrize("suffix", files.SUFFIXES)
@pytest.mark.parametrize("facts", [None, FACTS])
def test_what_is_written_is_read(tmp_path, suffix, facts):
    path = tmp_path / f"x{suffix}"
    files.write(path, TENSORS, facts)
    weights = files.read(path)
    assert weights.tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert weights.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(weights.tensors[name], array)
    assert weights.facts == (facts or Facts())
    assert weights.notes == ()
    assert [path.name for path in tmp_path.iterdir()] == [f"x{suffix}"]


def test_wrappers_and_prefixes_are_taken_off_and_it_is_said():
    weights = files.read(SAVED / "wrapped.pth")
    assert list(weights.tensors) == ["whole", "part"]
    assert [note.split(" ")[1] for note in weights.notes] == ["'model'", "'module.'"]


def write_pickled(path, content):
    """What `torch_zip.load` gives is put there without torch."""
    path.write_bytes(torch_zip.dump({}))
    return content, None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds no state dict but an empty dict"),
        ([1], "holds no state dict but of type list"),
        ({"state_dict": {}}, "holds no state dict but an empty dict"),
        ({"epoch": 3}, "'epoch' is of type int and no tensor"),
        ({"state_dict": {"a": np.ones(1), "b": None}}, "'b' is of type NoneType"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, monkeypatch, content, message):
    path = tmp_path / "x.pth"
    monkeypatch.setattr(torch_zip, "load", lambda path: write_pickled(path, content))
    path.touch()
    with pytest.raises(UserError, match=message):
        files.read(path)


def test_of_an_average_and_its_model_the_average_is_taken(tmp_path, monkeypatch):
    inner = {"module.a": np.ones(1), "n_averaged": np.array(3)}
    content = {"model": {"a": np.zeros(1)}, "model_ema": inner}
    path = tmp_path / "x.pth"
    monkeypatch.setattr(torch_zip, "load", lambda path: write_pickled(path, content))
    path.touch()
    weights = files.read(path)
    assert {name: array.item() for name, array in weights.tensors.items()} == {"a": 1.0}
    assert "'model_ema'" in weights.notes[0]


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_truncated_file_is_one_line(tmp_path, suffix, share):
    path = tmp_path / f"x{suffix}"
    files.write(path, TENSORS)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"cannot read .*x\.") as caught:
        files.read(path)
    assert "\n" not in str(caught.value)


def test_other_mistakes_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"cannot read missing.pth: No such file"):
        files.read("missing.pth")
    for act in (files.read, lambda path: files.write(path, TENSORS)):
        with pytest.raises(UserError, match=r"'x\.npz' is no file of weights .*\.safetensors"):
            act("x.npz")
    with pytest.raises(UserError, match="cannot write"):
        files.write(tmp_path / "none" / "x.pth", TENSORS)
    files.write(tmp_path / "x.safetensors", TENSORS, FACTS)
    content = (tmp_path / "x.safetensors").read_bytes()
    (tmp_path / "x.safetensors").write_bytes(content.replace(b"class_names", b"class_nomes"))
    with pytest.raises(UserError, match=r"the facts in .*x\.safetensors cannot be read"):
        files.read(tmp_path / "x.safetensors")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.pth"
    files.write(path, TENSORS)
    before = path.read_bytes()
    with pytest.raises(UserError, match="complex64"):
        files.write(path, {"x": np.zeros(1, np.complex64)})
    assert path.read_bytes() == before
