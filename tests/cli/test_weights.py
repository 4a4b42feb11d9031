import json

import jax
import numpy as np
import pytest

from cnn import nn, pretrained
from cnn.__main__ import main
from cnn.pretrained import torch_zip
from cnn.pretrained.facts import Facts, Preprocessing
from cnn.pretrained.layout import paths_of
from tests.models.rows import build, images

FACTS = Facts("resnet_test", {}, Preprocessing(32, crop_fraction=1.0), tuple("abcde"))


@pytest.fixture(autouse=True)
def _own_compilation_cache(monkeypatch):
    """The commands would otherwise point JAX to the user's cache."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")


@pytest.fixture(scope="module")
def variables():
    return jax.tree.map(np.asarray, build("resnet_test", images("resnet_test", 1))[1])


@pytest.fixture(scope="module")
def state(variables):
    state = pretrained.to_torch("resnet_test", variables)
    return {**state, "bn1.num_batches_tracked": np.array(12)}


@pytest.fixture
def file(state, tmp_path):
    path = tmp_path / "five.pth"
    pretrained.write(path, state, FACTS)
    return path


def one_line(words, capsys):
    """The one line that a mistake is answered with."""
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("cnn: error: ")
    assert error.count("\n") == 1
    return error


def test_there_and_back_between_formats_keeps_every_byte(file, state, tmp_path, capsys):
    between, back = str(tmp_path / "x.safetensors"), str(tmp_path / "back.pth")
    assert main(["weights", "convert", "resnet_test", str(file), between]) == 0
    assert "with facts on images and classes" in capsys.readouterr().out
    assert main(["weights", "convert", "resnet_test", between, back]) == 0
    weights = pretrained.read(back)
    assert weights.tensors.keys() == state.keys()
    for name, array in state.items():
        assert weights.tensors[name].dtype == array.dtype
        assert weights.tensors[name].tobytes() == array.tobytes()
    assert weights.facts == FACTS


def test_our_names_and_torchs(file, variables, state, tmp_path):
    ours, back = str(tmp_path / "x.safetensors"), str(tmp_path / "back.pth")
    assert main(["weights", "convert", "resnet_test", str(file), ours, "--names=cnn"]) == 0
    paths = {"/".join(path) for path in paths_of(variables)}
    assert pretrained.read(ours).tensors.keys() == paths
    assert main(["weights", "convert", "resnet_test", ours, back, "--names=timm"]) == 0
    assert pretrained.read(back).tensors.keys() == state.keys()


def test_check_says_what_the_file_is(file, capsys):
    assert main(["weights", "check", "resnet_test", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "fits resnet_test: " in shown
    assert "5 classes, images of 3 channels" in shown
    assert "'crop_fraction': 1.0" in shown
    assert "classes: a, b, c, d, e" in shown


@pytest.fixture
def reference(variables, tmp_path):
    """The path of a reference, and a function that spoils it."""
    x = images("resnet_test", 2)
    model, _ = build("resnet_test", x)
    calls = nn.record(model, variables, x)
    names = {"backbone/stem_conv": "conv1", "backbone/stem_norm": "bn1", "head/logits": "fc"}
    arrays = {"input": np.moveaxis(np.asarray(x), -1, 1)}
    for path, name in names.items():
        output = np.asarray(calls[path].output)
        arrays[name] = np.moveaxis(output, -1, 1) if output.ndim == 4 else output
    path = tmp_path / "reference.npz"
    np.savez(path, **arrays)

    def spoil(name):
        np.savez(path, **{**arrays, name: arrays[name] * 1.01})

    return path, spoil


def test_check_against_a_reference(file, reference, capsys):
    path, spoil = reference
    words = ["weights", "check", "resnet_test", str(file), f"--reference={path}"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "3 layers agree; largest relative error " in shown
    assert "not in the reference: 10 layers, first layer1.0.conv1" in shown
    spoil("bn1")
    assert main(words) == 1
    shown = capsys.readouterr().out
    assert "1 layers agree" in shown
    assert "first that differs: backbone/stem_norm (bn1), relative error 9.9e-03" in shown
    assert "likely reason: " in shown
    assert main([*words, "--tolerance=0.1"]) == 0


def spoiled(state, how):
    state = dict(state)
    if how == "missing":
        del state["layer1.0.conv1.weight"]
    elif how == "extra":
        state["stranger.weight"] = np.ones(1, np.float32)
    elif how == "shape":
        state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"][:, :-1]
    elif how == "other":
        state = {f"blocks.{name}": array for name, array in state.items()}
    return state


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "lacks 'layer1.0.conv1.weight'"),
        ("extra", "has 'stranger.weight', which this network has not"),
        ("shape", "'layer1.0.conv1.weight' has shape (8, 7, 3, 3) in the state dict"),
        ("other", "lacks 'conv1.weight' (it begins with 'blocks."),
        ("truncated", "truncated"),
    ],
)
def test_bad_weights_are_one_line_and_write_nothing(state, tmp_path, capsys, suffix, how, message):
    path, target = tmp_path / f"bad{suffix}", tmp_path / "target.pth"
    pretrained.write(path, spoiled(state, how))
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    for words in (
        ["weights", "check", "resnet_test", str(path)],
        ["weights", "convert", "resnet_test", str(path), str(target)],
        ["predict", f"--weights={path}", "--model=resnet_test", picture(tmp_path)],
    ):
        assert message in one_line(words, capsys)
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, "picture.png"}


def picture(directory):
    from PIL import Image

    Image.fromarray(np.full((40, 50, 3), 99, np.uint8)).save(directory / "picture.png")
    return str(directory / "picture.png")


def test_a_pickle_with_code_is_one_line_and_not_run(state, tmp_path, capsys):
    target = tmp_path / "run"
    call = f"cposix\nsystem\n(S'touch {target}'\ntR.".encode()
    content = torch_zip.dump(state)
    path = tmp_path / "bad.pth"
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, call if name.endswith("data.pkl") else old.read(name))
    error = one_line(["weights", "check", "resnet_test", str(path)], capsys)
    assert "names 'posix.system', which is code and no tensor" in error
    assert not target.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "resnet_tset", "FILE"], "unknown model 'resnet_tset'; did you mean 'resnet_"),
        (["check", "lenet_test", "FILE"], "whose weights are not published in torch"),
        (["check", "resnet_test", "none.pth"], "no weights 'none.pth'"),
        (["check", "resnet_test", "FILE", "--reference=none.npz"], "cannot read none.npz"),
        (["check", "resnet_test", "FILE", "--tolerance=1"], "--tolerance is for --reference"),
        (["check", "resnet_test", "FILE", "--tolerance=-1"], "--tolerance must be above 0"),
        (["convert", "resnet_test", "FILE", "x.npz"], "'x.npz' is no file of weights"),
        (["convert", "resnet_test", "FILE", "none/x.pth"], "cannot write none/x.pth"),
        (["convert", "resnet_test", "FILE", "x.pth", "--names=tim"], "did you mean 'timm'"),
        (["convert", "resnet_test"], "required: SRC, DST"),
        (["check", "resnet_test", "FILE", "--nonsense"], "unknown argument '--nonsense'"),
        (["mend"], "invalid choice: 'mend'"),
        ([], "required: convert|check"),
    ],
)
def test_mistakes_are_one_line(words, message, file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [str(file) if word == "FILE" else word for word in words]
    assert message in one_line(["weights", *words], capsys)
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]


def test_predict_with_weights_uses_what_travels_with_them(file, state, tmp_path, capsys):
    image = picture(tmp_path)
    words = ["predict", f"--weights={file}", "--json", image]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    top = json.loads(captured.out)["top"]
    assert {name for name, _ in top} == set("abcde")
    pretrained.write(tmp_path / "bare.pth", state)
    words = ["predict", f"--weights={tmp_path / 'bare.pth'}", "--json", image]
    assert "does not say which network of ours it is for" in one_line(words, capsys)
    assert main([*words, "--model=resnet_test"]) == 0
    captured = capsys.readouterr()
    assert {name for name, _ in json.loads(captured.out)["top"]} == set("01234")
    assert "taking ImageNet's usual image_size 32, mean (0.485, 0.456, 0.406)" in captured.err
    assert "do not name their classes; showing numbers" in captured.err


def test_predict_takes_weights_or_a_run(file, tmp_path, capsys):
    image = picture(tmp_path)
    for words, message in (
        ([], "one of the arguments --workdir --weights is required"),
        ([f"--weights={file}", "--workdir=x"], "not allowed with"),
        (["--workdir=x", "--model=resnet_test"], "--model is for --weights"),
        ([f"--weights={file}", "--best"], "--step and --best are for --workdir"),
    ):
        assert message in one_line(["predict", *words, image], capsys)


# Averages.


def test_the_mean_of_files_is_written_with_their_facts(file, state, tmp_path, capsys):
    other, output = tmp_path / "other.pth", tmp_path / "soup.safetensors"
    moved = {name: np.asarray(x + 2, np.asarray(x).dtype) for name, x in state.items()}
    pretrained.write(other, moved, FACTS)
    assert main(["weights", "average", str(file), str(other), f"--output={output}"]) == 0
    told = capsys.readouterr().out
    assert "note: statistics of batch norm are averaged too" in told
    found = pretrained.read(output)
    assert found.facts == FACTS
    assert found.tensors.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_allclose(found.tensors[name], array + 1, rtol=1e-6, atol=1e-6)
    assert "--greedy is for runs" in one_line(
        ["weights", "average", str(file), str(other), f"--output={output}", "--greedy"], capsys
    )
    assert "an average is of two or more" in one_line(
        ["weights", "average", str(file), f"--output={output}"], capsys
    )


def test_checkpoints_of_a_run_make_a_greedy_soup(tmp_path, capsys):
    run, output = tmp_path / "run", tmp_path / "soup.safetensors"
    flags = ["num_steps=6", "checkpoint_every_steps=3", "log_every_steps=3", "eval_every_steps=6"]
    words = ["train", "--config=configs/mnist5k/lenet5.py", f"--workdir={run}"]
    words += ["--config.model.name=mlp_test", *(f"--config.train.{flag}" for flag in flags)]
    assert main([*words, "--config.parallel.num_devices=1"]) == 0
    names = [f"{run}@3", f"{run}@6"]
    assert main(["weights", "average", *names, f"--output={output}", "--greedy"]) == 0
    told = capsys.readouterr().out
    assert f" of 2\n{output}: the mean of {run}@" in told
    found = pretrained.open_weights(str(output)).tensors
    three, six = (pretrained.open_weights(name).tensors for name in names)
    means = [{name: (x + six[name]) / 2 for name, x in three.items()}, three, six]
    assert any(
        all(np.allclose(found[name], x, rtol=1e-6) for name, x in mean.items()) for mean in means
    )
    assert "no checkpoint of step 4" in one_line(
        ["weights", "average", f"{run}@4", f"{run}@6", f"--output={output}"], capsys
    )
