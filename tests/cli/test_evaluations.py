"""`cnn evaluate --on` as a user runs it: on a tiny run of digits, and on weights."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from cnn import data
from cnn.__main__ import main
from cnn.data.contract import labels_of
from cnn.data.corruptions import Corrupted
from cnn.data.digits import mnist5k

ROOT = pathlib.Path(__file__).parents[2]
TINY = [
    f"--config={ROOT / 'configs/mnist5k/lenet5.py'}",
    "--config.model.name=lenet_test",
    "--config.optimizer.learning_rate=0.1",
    "--config.train.num_steps=250",
    "--config.train.log_every_steps=250",
    "--config.train.eval_every_steps=250",
    "--config.train.checkpoint_every_steps=250",
    "--config.loader.batch_size=32",
]


@pytest.fixture(autouse=True)
def _own_compilation_cache(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("evaluations") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", "")
        assert main(["train", *TINY, f"--workdir={directory}"]) == 0
    return directory


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Class folders by number, of four digits each from three of the classes."""
    root = tmp_path_factory.mktemp("digits")
    source = mnist5k().eval
    for label in (1, 4, 7):
        folder = root / str(label)
        folder.mkdir()
        for index in np.flatnonzero(labels_of(source) == label)[:4]:
            image = Image.fromarray(source[int(index)]["image"][:, :, 0])
            image.save(folder / f"{index}.png")
    return root


def saved(directory, name):
    return json.loads((directory / "evaluations" / f"{name}.json").read_text())


def one_line(words, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_what_is_learnt_and_measured_on_the_runs_own_data(run, capsys):
    kinds = "knn,linear_probe,few_shot,calibration,per_class,throughput"
    words = ["--k=5,50", "--shots=1,10", "--seeds=2"]
    assert main(["evaluate", f"--workdir={run}", f"--on={kinds}", *words]) == 0
    shown = capsys.readouterr().out
    # The last hidden layer of even so small a network parts digits better than chance by far.
    assert saved(run, "linear_probe")["metrics"]["accuracy"] > 0.9
    neighbours = saved(run, "knn")["metrics"]
    assert min(neighbours["accuracy_k5"], neighbours["accuracy_k50"]) > 0.85
    shots = saved(run, "few_shot")["metrics"]
    assert 0.3 < shots["accuracy_1_shot"] < shots["accuracy_10_shot"]
    classes = saved(run, "per_class")
    assert [row[1] for row in classes["tables"][0]["rows"]] == [100] * 10
    assert saved(run, "throughput")["metrics"]["images_per_second"] > 0
    # What the checkpoint itself was measured by.
    assert main(["evaluate", f"--workdir={run}"]) == 0
    accuracy = json.loads((run / "evaluation.json").read_text())["metrics"]["accuracy"]
    assert classes["metrics"]["accuracy"] == pytest.approx(accuracy)
    assert saved(run, "calibration")["metrics"]["accuracy"] == pytest.approx(accuracy)
    page = (run / "report.html").read_text()
    for name in kinds.split(","):
        assert f"{name} of step 250" in shown
        assert f"<h2>Evaluation: {name.replace('_', ' ')}</h2>" in page


def test_another_set_of_some_classes(run, digits, capsys):
    words = ["evaluate", f"--workdir={run}", f"--root={digits}"]
    assert main([*words, "--on=imagenet_v2,imagenet_r"]) == 0
    whole, restricted = (saved(run, name) for name in ("imagenet_v2", "imagenet_r"))
    assert whole["num_examples"] == restricted["num_examples"] == 12
    assert (whole["settings"]["classes"], restricted["settings"]["classes"]) == (10, 3)
    # Choosing among fewer is easier.
    assert restricted["metrics"]["loss"] < whole["metrics"]["loss"]
    assert restricted["metrics"]["accuracy"] >= whole["metrics"]["accuracy"]
    capsys.readouterr()


def test_several_labels_an_image(run, digits, tmp_path, capsys):
    words = ["evaluate", f"--workdir={run}", f"--root={digits}", "--on=imagenet_real"]
    anything = [list(range(10))] * 8 + [[]] * 4
    (tmp_path / "real.json").write_text(json.dumps(anything))
    assert main([*words, f"--labels={tmp_path / 'real.json'}"]) == 0
    found = saved(run, "imagenet_real")
    assert (found["num_examples"], found["metrics"]["accuracy"]) == (8, 1.0)
    (tmp_path / "real.json").write_text("[[1]]")
    capsys.readouterr()
    error = one_line([*words, f"--labels={tmp_path / 'real.json'}"], capsys)
    assert "has 1 entries for 12 images" in error


def test_corruptions_from_files_are_those_made_on_the_fly(run, digits, tmp_path, capsys):
    """The same pictures, written down as ImageNet-C has them."""
    source = data.match_classes(
        data.open_part(root=str(digits), tfds="", split=""), tuple("0123456789")
    )
    fit = data.make_preprocess(image_size=28, channels=1, mean=(0.0,), std=(1.0,)).fit
    made = Corrupted(source, fit, "fog", 3)
    for index in range(len(made)):
        example = made[index]
        folder = tmp_path / "weather" / "fog" / "3" / str(example["label"])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(example["image"][:, :, 0]).save(folder / f"{index:02}.png")
    words = ["evaluate", f"--workdir={run}", "--corruptions=fog", "--severities=3"]
    assert main([*words, f"--root={digits}", "--on=corruptions"]) == 0
    assert main([*words, f"--root={tmp_path}", "--on=imagenet_c"]) == 0
    made, published = (saved(run, name) for name in ("corruptions", "imagenet_c"))
    assert made["tables"] == published["tables"]
    assert made["num_examples"] == published["num_examples"] == 12
    capsys.readouterr()


def test_weights_without_a_run(run, digits, tmp_path, capsys):
    words = ["evaluate", f"--weights={run}", "--on=test_set", f"--root={digits}"]
    assert main([*words, "--batch_size=5", f"--output={tmp_path / 'out'}"]) == 0
    assert main(["evaluate", f"--workdir={run}", "--on=test_set", f"--root={digits}"]) == 0
    ours, of_run = saved(tmp_path / "out", "test_set"), saved(run, "test_set")
    assert ours["metrics"] == pytest.approx(of_run["metrics"], rel=1e-4)
    assert (ours["step"], of_run["step"]) == (0, 250)
    capsys.readouterr()


def test_mistakes_are_one_line(run, digits, tmp_path, capsys):
    words = ["evaluate", f"--workdir={run}"]
    for flags, said in (
        (["--on=knnn"], "unknown evaluation 'knnn'; did you mean 'knn'"),
        (["--on=imagenet_v2"], "give --root=DIR or --tfds=NAME"),
        (["--on=imagenet_a", f"--root={tmp_path / 'no'}"], "does not exist"),
        (["--on=imagenet_real", f"--root={digits}"], "needs --labels=real.json"),
        (["--on=imagenet_c"], "imagenet_c needs pictures"),
        (["--on=imagenet_c", f"--root={digits}"], "gaussian_noise/1' does not exist"),
        (["--on=corruptions", "--corruptions=fogg"], "unknown corruption 'fogg'; did you mean"),
        (["--on=corruptions", "--severities=6"], "--severities are from 1 to 5"),
        (["--on=knn", "--k=many"], "--k takes whole numbers"),
        (["--on=knn", "--limit=30", "--k=31"], "between 1 and the 30 training examples"),
        (["--on=knn", "--limit=-1"], "--limit must be at least 0"),
        (["--on=knn", "--model=lenet5"], "--model and --output are for --weights"),
    ):
        assert said in one_line([*words, *flags], capsys)
    (digits / "eleven").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(digits / "eleven" / "0.png")
    error = one_line([*words, "--on=test_set", f"--root={digits}"], capsys)
    assert "the first 'eleven'" in error
    error = one_line(["evaluate", f"--weights={run}"], capsys)
    assert "unknown evaluation ''" in error
