"""Generation as a user calls it: train, go on, evaluate, generate."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from cnn.__main__ import main
from cnn.cli import generate
from cnn.report.log import read_metrics

ROOT = pathlib.Path(__file__).parents[2]
TINY = [
    f"--config={ROOT / 'configs/mnist5k/dcgan.py'}",
    "--config.model.name=dcgan_test",
    "--config.preprocess.image_size=28",
    "--config.loader.batch_size=16",
    "--config.schedule.name=constant",
    "--config.evaluation.batch_size=250",
    "--config.train.log_every_steps=2",
    "--config.train.eval_every_steps=2",
    "--config.train.checkpoint_every_steps=2",
    "--config.parallel.num_devices=2",
]
LENET = [
    f"--config={ROOT / 'configs/mnist5k/lenet5.py'}",
    "--config.model.name=lenet_test",
    "--config.train.num_steps=20",
    "--config.parallel.num_devices=1",
]


OUTLINES = [
    f"--config={ROOT / 'configs/pix2pix.py'}:outlines",
    "--config.model.name=pix2pix_test",
    "--config.train.num_steps=2",
    "--config.parallel.num_devices=1",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of four steps, one that was stopped after two and went on, and a classifier's."""
    patch = pytest.MonkeyPatch()
    patch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    folder = tmp_path_factory.mktemp("runs")
    for name, steps in (("dcgan", 4), ("stopped", 2), ("stopped", 4)):
        words = [*TINY, f"--config.train.num_steps={steps}", f"--workdir={folder / name}"]
        assert main(["train", *words]) == 0
    assert main(["train", *LENET, f"--workdir={folder / 'lenet'}"]) == 0
    assert main(["train", *OUTLINES, f"--workdir={folder / 'outlines'}"]) == 0
    yield folder
    patch.undo()


def lines(directory):
    return [
        {name: value for name, value in line.items() if not name.startswith("perf/")}
        for line in read_metrics(directory)
    ]


def sheet_of(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_run_that_goes_on_is_the_unbroken_one_bit_for_bit(runs):
    assert lines(runs / "dcgan") == lines(runs / "stopped")
    for step in (2, 4):
        sheets = [runs / name / "samples" / f"{step:08d}.png" for name in ("dcgan", "stopped")]
        assert sheets[0].read_bytes() == sheets[1].read_bytes()
    out = runs / "both.png"
    made = []
    for name in ("dcgan", "stopped"):
        assert main(["generate", f"--workdir={runs / name}", "--num=3", f"--out={out}"]) == 0
        made.append(out.read_bytes())
    assert made[0] == made[1]


def test_training_leaves_scores_and_sheets_in_the_report(runs):
    found = json.loads((runs / "dcgan" / "evaluation.json").read_text())
    assert set(found["metrics"]) == {"told_apart", "real_score", "made_score"}
    assert found["num_examples"] == 1000
    last = lines(runs / "dcgan")[-1]
    for name in ("real_score", "made_score"):
        assert last[f"eval/{name}"] == pytest.approx(found["metrics"][name], rel=1e-4, abs=1e-6)
    assert sheet_of(runs / "dcgan/samples/00000004.png").shape == (8 * 30 - 2,) * 2
    report = (runs / "dcgan" / "report.html").read_text()
    assert "the same latents each time" in report
    assert "Samples of step 4" in report


def test_sheets_folders_and_rows_between(runs, tmp_path, capsys):
    words = ["generate", f"--workdir={runs / 'dcgan'}"]
    assert main([*words, "--num=5", f"--out={tmp_path / 'one'}"]) == 0
    assert "step 4: 5 pictures" in capsys.readouterr().out
    assert len(list((tmp_path / "one").glob("*.png"))) == 5
    assert main([*words, "--num=2", "--interpolate=4", f"--out={tmp_path / 'rows.png'}"]) == 0
    rows = sheet_of(tmp_path / "rows.png")
    assert rows.shape == (2 * 30 - 2, 4 * 30 - 2)
    # Its rows begin with the pictures that the seed gives.
    np.testing.assert_array_equal(rows[:28, :28], sheet_of(tmp_path / "one" / "00000.png"))
    np.testing.assert_array_equal(rows[30:, :28], sheet_of(tmp_path / "one" / "00001.png"))


def test_a_classifier_looks_at_the_pictures(runs, capsys):
    words = ["evaluate", f"--workdir={runs / 'dcgan'}", "--on=generation", "--num=40"]
    assert main([*words, "--limit=60", f"--features={runs / 'lenet'}"]) == 0
    found = json.loads((runs / "dcgan" / "evaluations" / "generation.json").read_text())
    assert set(found["metrics"]) == {"fid", "precision", "recall", "recognised", "recognised_real"}
    assert found["num_examples"] == 40
    (table,) = found["tables"]
    assert [sum(row[place] for row in table["rows"]) for place in (1, 2)] == [40, 60]
    assert "Evaluation: generation" in (runs / "dcgan" / "report.html").read_text()


def test_a_run_of_pairs_translates_pictures_of_any_size(runs, tmp_path):
    found = json.loads((runs / "outlines" / "evaluation.json").read_text())
    assert set(found["metrics"]) == {"l1"}
    # Given, made and true beside each other.
    rows = sheet_of(runs / "outlines/samples/00000002.png")
    assert rows.shape == (8 * 34 - 2, 8 * 98 - 2)
    pictures = []
    for index, size in enumerate([(40, 30), (32, 32)]):
        pictures.append(str(tmp_path / f"{index}.png"))
        Image.new("RGB", size).save(pictures[-1])
    words = ["generate", f"--workdir={runs / 'outlines'}", f"--out={tmp_path / 'made'}"]
    assert main([*words, "--inputs", *pictures]) == 0
    made = [sheet_of(tmp_path / "made" / f"0000{index}.png") for index in range(2)]
    assert [image.shape for image in made] == [(32, 32), (32, 32)]
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "--workdir={lenet}", "--out=x.png"], "which makes no pictures"),
        (["generate", "--workdir={dcgan}", "--out=x.png", "--num=0"], "--num must be at least 1"),
        (["generate", "--workdir={dcgan}", "--out=x.png", "--interpolate=1"], "takes 2 pictures"),
        (["generate", "--workdir={dcgan}", "--out=x.png", "--seed=-1"], "--seed must be at least"),
        (["generate", "--workdir={dcgan}", "--out=x.png", "--style_mixing"], "a run of StyleGAN2"),
        (["generate", "--workdir={dcgan}", "--out=x.png", "--inputs", "y"], "--inputs are for"),
        (["generate", "--workdir={outlines}", "--out=x.png"], "say which, --inputs IMAGE"),
        (
            ["evaluate", "--workdir={outlines}", "--on=generation", "--features={lenet}"],
            "generation is of pictures made anew",
        ),
        (["predict", "--workdir={dcgan}", "{picture}"], "makes pictures: cnn generate --workdir="),
        (["evaluate", "--workdir={dcgan}", "--on=generation"], "--features=DIR"),
        (["evaluate", "--workdir={dcgan}", "--on=knn"], "there is --on=generation"),
        (["evaluate", "--workdir={lenet}", "--on=knn", "--features=x"], "for --on=generation"),
    ],
)
def test_mistakes_are_one_clear_line(runs, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (28, 28)).save("digit.png")
    names = {name: runs / name for name in ("lenet", "dcgan", "outlines")}
    names["picture"] = "digit.png"
    assert main([word.format(**names) for word in words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("preprocess.mean=(0.1,)", "pixels of generators are from -1 to 1"),
        ("evaluation.views=flip", "evaluation.views must be 'center' where images are made"),
        ("init.weights=x.npz", "init.weights must be '' where images are made"),
        ("model.name=lenet5", "unknown generator 'lenet5'"),
        ("preprocess.image_size=32", "makes images of 28x28x1"),
        ("data.source=outlines", "an image of 2 channels cannot become one of 1"),
        ("model.latent_size=6", "latents of 6 numbers have no 10 classes in them"),
        ("model.name=vae_test", "vae_test makes images of no class"),
    ],
)
def test_configs_that_cannot_be_are_one_clear_line(tmp_path, capsys, override, message):
    words = ["train", *TINY, f"--workdir={tmp_path / 'run'}", f"--config.{override}"]
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_a_task_that_needs_pairs_says_so(tmp_path, capsys):
    pairs = f"--config={ROOT / 'configs/pix2pix.py'}:outlines"
    assert main(["train", pairs, f"--workdir={tmp_path}", "--config.data.source=mnist5k"]) == 2
    assert "learns from two images an example, but mnist5k train has one" in capsys.readouterr().err


def test_a_sheet_of_two_styles_has_its_sources_around_it():
    rows, columns = generate.draw(0, 2, 3), generate.draw(1, 2, 3)
    found = generate.crossed(rows, columns)
    coarse, fine = (found[name].reshape(3, 3, 3) for name in ("latent", "fine"))
    for index in range(2):
        np.testing.assert_array_equal(coarse[1 + index, 1:], np.stack([rows[index]] * 2))
        np.testing.assert_array_equal(fine[1:, 1 + index], np.stack([columns[index]] * 2))
        # A source has both styles of its own.
        np.testing.assert_array_equal(coarse[1 + index, 0], fine[1 + index, 0])
        np.testing.assert_array_equal(coarse[0, 1 + index], columns[index])
        np.testing.assert_array_equal(fine[0, 1 + index], columns[index])


def test_the_way_between_keeps_its_length_on_the_whole():
    starts, ends = generate.draw(0, 3, 200), generate.draw(1, 3, 200)
    rows = generate.between(starts, ends, 5).reshape(3, 5, 200)
    np.testing.assert_allclose(rows[:, 0], starts, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(rows[:, -1], ends, rtol=1e-5, atol=1e-5)
    lengths = np.linalg.norm(rows, axis=-1)
    assert (lengths > 0.85 * np.sqrt(200)).all()
