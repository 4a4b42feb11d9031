"""`cnn reproduce`, as a user calls it."""

import pathlib

import pytest

from cnn.__main__ import main
from cnn.cli import workdir
from cnn.ledger import entry
from tests.ledger import hand

ROOT = pathlib.Path(__file__).parents[2]
TINY = """
title = "A paper"
citation = "Somebody 1998"

[[rows]]
name = "tiny"
claim = "digits"
config = "configs/mnist5k/lenet5.py"
metric = "eval/accuracy"
expected = 0.05
expected_source = "table 1"
seeds = [0, 1]

[rows.overrides]
"model.name" = "lenet_test"
"resident.enabled" = true
"augment.rotate_degrees" = 0.0
"augment.shift_fraction" = 0.0
"augment.scale_fraction" = 0.0
"train.num_steps" = 2
"schedule.warmup_epochs" = 0.0
"""
MADE = """
title = "A generator"
citation = "Somebody 2016"

[[rows]]
name = "made"
claim = "digits that a classifier recognises"
config = "configs/mnist5k/dcgan.py"
metric = "generation/recognised"
features = "judge.py"
seeds = [0]

[rows.overrides]
"model.name" = "dcgan_test"
"loader.batch_size" = 16
"evaluation.batch_size" = 250
"schedule.name" = "constant"
"train.num_steps" = 2
"""
JUDGE = """
from configs.mnist5k import lenet5


def get_config():
    config = lenet5.get_config()
    config.model.name = "lenet_test"
    config.train.num_steps = 20
    return config
"""
ONE = "--config.parallel.num_devices=1"


@pytest.fixture(autouse=True)
def _own_compilation_cache(monkeypatch):
    """The commands would otherwise point JAX to the user's cache."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")


@pytest.fixture
def root(tmp_path):
    made = hand.ledger(tmp_path)
    (made / "small" / "paper.toml").write_text(TINY)
    return made


@pytest.fixture
def committed(monkeypatch):
    commit = {"commit": "0123456789abcdef", "dirty": False}
    monkeypatch.setattr(workdir, "_commit", lambda: commit)
    return commit


def reproduce(root, *words):
    return main(["reproduce", *words, f"--experiments={root}", f"--workdir={root.parent / 'runs'}"])


def test_a_row_runs_and_is_entered_once(root, committed, capsys):
    assert reproduce(root, "small/tiny", ONE) == 0
    assert "small/tiny seed 1: eval/accuracy 0." in capsys.readouterr().out
    first = hand.paper(root).results
    assert [(result.row, result.seed, result.commit) for result in first] == [
        ("tiny", 0, "0123456789ab"),
        ("tiny", 1, "0123456789ab"),
    ]
    assert reproduce(root, "small") == 0
    assert "small/tiny seed 1: is in the ledger" in capsys.readouterr().out
    assert hand.paper(root).results == first
    # A run that is finished is entered without another training.
    (root / "small" / "results.csv").unlink()
    assert reproduce(root, "small/tiny", "--seeds=1", ONE) == 0
    assert hand.paper(root).results == first[1:]
    assert main(["ledger", "render", f"--experiments={root}"]) == 0
    (root / "small" / "logs" / "tiny_seed0.jsonl").unlink()
    assert main(["ledger", "check", f"--experiments={root}"]) == 0
    assert "the ledger is as it should be" in capsys.readouterr().out


def test_a_generator_is_measured_by_a_classifier_that_is_trained_for_it(root, committed, capsys):
    (root / "small" / "paper.toml").write_text(MADE)
    (root.parent / "judge.py").write_text(JUDGE)
    assert reproduce(root, "small/made", ONE) == 0
    (result,) = hand.paper(root).results
    assert f"small/made seed 0: generation/recognised {result.value:g}, added" in (
        capsys.readouterr().out
    )
    assert 0 <= result.value <= 1
    log = entry.read_log(root / "small" / result.log)
    assert log.features is not None
    assert (log.features["model"]["name"], log.features["data"]["root"]) == ("lenet_test", "")
    assert log.records[-1]["generation/recognised"] == pytest.approx(result.value, rel=1e-5)
    assert main(["ledger", "render", f"--experiments={root}"]) == 0
    assert main(["ledger", "check", f"--experiments={root}"]) == 0
    # Another classifier would have given another number.
    (root.parent / "judge.py").write_text(JUDGE.replace("20", "30"))
    assert main(["ledger", "check", f"--experiments={root}"]) == 1
    assert (
        "small/made seed 0: its classifier is not that of 'judge.py' any more: train.num_steps was "
        "20, is 30; run it again"
    ) in capsys.readouterr().err


def test_code_that_no_commit_has_is_refused(root, committed, capsys):
    committed["dirty"] = True
    assert reproduce(root, "small") == 2
    assert "commit them first" in capsys.readouterr().err
    assert not hand.paper(root).results


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a row: cnn reproduce PAPER[/ROW]"),
        (["smal"], "unknown paper 'smal'; did you mean 'small'"),
        (["small/tin"], "unknown row of small 'tin'; did you mean 'tiny'"),
        (["small", "--seeds=3"], "3 is no seed of the row tiny, which has 0, 1"),
        (["small", "--seeds=one"], "--seeds takes whole numbers parted by commas, got 'one'"),
        (
            ["small", "--config.optimizer.learning_rate=1"],
            "that would be another row than tiny: optimizer.learning_rate was",
        ),
        (["small", "--config.seed=1"], "seeds are chosen by --seeds, not by --config.seed"),
        (["small", "--smoke", "--seeds=1"], "--smoke takes neither seeds nor values"),
    ],
)
def test_mistakes_are_one_line(root, committed, capsys, words, message):
    assert reproduce(root, *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_smoke_runs_a_row_and_adds_nothing(capsys):
    experiments = ROOT / "experiments"
    before = sorted(experiments.rglob("*"))
    words = ["reproduce", "lenet/lenet5_1998_distortions", "--smoke"]
    assert main([*words, f"--experiments={experiments}"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("lenet/lenet5_1998_distortions: whole path with lenet5_1998, ")
    assert shown.endswith("1 of 1 rows ran; nothing was added\n")
    assert sorted(experiments.rglob("*")) == before


def test_smoke_names_a_row_that_fails_and_goes_on(root, capsys):
    broken = TINY.replace('"resident.enabled" = true', '"augment.pad_px" = -1')
    (root / "small" / "paper.toml").write_text(broken)
    assert reproduce(root, "--smoke") == 1
    shown = capsys.readouterr().out
    assert "small/tiny: pad_px must be between 0" in shown
    assert "0 of 1 rows ran; nothing was added" in shown
