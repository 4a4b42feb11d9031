"""`cnn compare` as a user calls it."""

import csv
import json
import pathlib

import pytest

from cnn.__main__ import main
from tests.compare import small

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _own_compilation_cache(monkeypatch):
    """The command would otherwise point JAX to the user's cache."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("compare")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", "")
        words = small.words(directory, directory / "cmp", compare__fractions="(0.01,1.0)")
        assert main(words) == 0
    return directory / "cmp"


def without_times(path):
    """The rows of a table without what a clock said."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_it_leaves_what_the_help_promises(done):
    tables = {path.stem for path in (done / "tables").iterdir()}
    assert {"models", "pairs", "runs", "curves", "efficiency", "robustness"} <= tables
    runs = without_times(done / "tables" / "runs.csv")
    assert [(row["model"], row["fraction"], row["seed"]) for row in runs] == [
        (model, share, seed)
        for model in ("cnn", "vit")
        for share in ("0.01", "1.0")
        for seed in "01"
    ]
    assert all((done / row["report"]).exists() for row in runs)
    found = json.loads((done / "comparison.json").read_text())
    assert len(found["summary"]) == 5
    page = (done / "report.html").read_text()
    assert "2 models" in page
    assert str(done) not in page.split("Environment")[0]


def test_other_commands_work_on_its_runs(done, capsys):
    run = done / "runs" / "vit" / "1" / "seed1"
    runs = without_times(done / "tables" / "runs.csv")
    assert main(["evaluate", f"--workdir={run}"]) == 0
    assert f"accuracy {float(runs[-1]['accuracy']):.4f}" in capsys.readouterr().out
    (run / "report.html").unlink()
    assert main(["report", f"--workdir={run}"]) == 0
    assert (run / "report.html").exists()


def test_the_same_seeds_give_the_same_tables_to_the_digit(done, tmp_path):
    again = small.words(tmp_path, tmp_path / "cmp", compare__fractions="(0.01,1.0)")
    assert main(again) == 0
    paths = sorted((done / "tables").iterdir())
    assert [p.name for p in paths] == sorted(p.name for p in (tmp_path / "cmp/tables").iterdir())
    for path in paths:
        if path.stem != "pareto_seconds":
            assert without_times(path) == without_times(tmp_path / "cmp/tables" / path.name), path


def test_the_same_command_again_trains_nothing(done, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in done.rglob("checkpoints/*")}
    words = small.words(tmp_path, done, compare__fractions="(0.01,1.0)")
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in done.rglob("checkpoints/*")} == before
    assert " done  " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compare__budget__kind": "flops"}, "unknown compare.budget.kind 'flops' (known: images"),
        ({"compare__models__cnn__model__name": "lenet6"}, "compare.models.cnn: unknown model"),
        (
            {"compare__models__vit__model__patch_size": 8},
            "compare.models.vit: images of 28x28 are no whole number of 8-pixel patches",
        ),
        (
            {"compare__models__cnn__model__name": "convnext_test", "preprocess__image_size": 2},
            "compare.models.cnn: ",
        ),
        ({"compare__seeds": "()"}, "compare.seeds must be different numbers"),
        ({"compare__seed": "3"}, "unknown key of config.compare 'seed'; did you mean 'seeds'"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_trained(tmp_path, capsys, changes, message):
    assert main(small.words(tmp_path, tmp_path / "cmp", **changes)) == 2
    error = capsys.readouterr().err
    assert error.startswith("cnn: error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not list(tmp_path.glob("cmp/*"))


def test_a_config_of_one_training_is_refused(tmp_path, capsys):
    words = [f"--config={ROOT / 'configs/mnist5k/lenet5.py'}", f"--workdir={tmp_path}"]
    assert main(["compare", *words]) == 2
    assert "has no section 'compare'" in capsys.readouterr().err


def test_processes_are_at_least_one_and_share_no_clock(tmp_path, capsys):
    words = small.words(tmp_path, tmp_path / "cmp", compare__budget__kind="seconds")
    assert main([*words, "--processes=0"]) == 2
    assert "--processes must be at least 1, got 0" in capsys.readouterr().err
    assert main([*words, "--processes=2"]) == 2
    assert "need the machine for themselves" in capsys.readouterr().err
