"""Tables of a comparison that was made by hand."""

import json
import math

import pytest

from cnn.compare import analysis, plan_file
from cnn.errors import UserError
from tests.compare import hand


def tables(workdir, **changes):
    hand.write(workdir, **changes)
    return analysis.tables(analysis.load(workdir, plan_file.read(workdir)), 28)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return tables(tmp_path_factory.mktemp("hand"))


def row(rows, **wanted):
    (one,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return one


def test_accuracies_are_those_of_hand(found):
    one = row(found["models"], model="lenet")
    assert one["accuracy_mean"] == pytest.approx(0.85)
    assert one["accuracy_std"] == pytest.approx(0.05 * math.sqrt(2))
    # 12.706 deviations of the mean for two values.
    assert one["accuracy_high"] == pytest.approx(0.85 + 12.706 * 0.05, abs=1e-4)
    assert one["seeds"] == 2
    assert one["loss_mean"] == pytest.approx(0.5)


def test_costs_are_of_the_plan_and_of_the_log(found):
    one = row(found["models"], model="vit")
    assert (one["images"], one["train_macs"], one["step_bytes"]) == (80, 20 * 12 * 2000, 1000)
    # 80 images at 160 and at 80 a second.
    assert one["seconds"] == pytest.approx(0.75)


def test_calibration_by_hand(found):
    # Of LeNet's seeds 9 and 8 of 10 are right, at 0.9, and the others wrong, at 0.6.
    errors = [0.9 * 0.1 + 0.1 * 0.6, 0.8 * 0.1 + 0.2 * 0.6]
    one = row(found["models"], model="lenet")
    assert one["ece_mean"] == pytest.approx(sum(errors) / 2)
    bins = [r for r in found["calibration"] if r["model"] == "lenet" and r["count"]]
    assert [(r["count"], r["confidence"], r["accuracy"]) for r in bins] == [
        (3, pytest.approx(0.6), 0.0),
        (17, pytest.approx(0.9), 1.0),
    ]
    assert row(found["calibration"], model="lenet", count=0, **{"from": 0.0})["accuracy"] is None


def test_pairs_by_hand(found):
    assert [(r["left"], r["right"]) for r in found["pairs"]] == [
        ("lenet", "mlp"),
        ("lenet", "vit"),
        ("mlp", "vit"),
    ]
    one = row(found["pairs"], left="lenet", right="vit")
    # Seed 0: 0.9 - 0.7; seed 1: 0.8 - 0.8.
    assert one["difference_mean"] == pytest.approx(0.1)
    assert one["only_left_mean"] == 2.0
    assert one["only_right_mean"] == 1.0
    # Exact p-values 0.5 of (2, 0) and 1 of (2, 2): the larger of two.
    assert one["mcnemar_p"] == pytest.approx(1.0)
    # Both predict alike where both are right, or both wrong, which is wrong in the same way here.
    assert one["agreement"] == pytest.approx((0.8 + 0.6) / 2)
    kappas = [(0.8 - 0.66) / 0.34, (0.6 - 0.68) / 0.32]
    assert one["error_kappa"] == pytest.approx(sum(kappas) / 2)
    assert row(found["pairs"], left="lenet", right="mlp")["t_p"] == pytest.approx(
        2 / math.pi * math.atan(0.05 / 0.25), rel=1e-6
    )


def test_holm_goes_over_all_pairs(found):
    for test in ("t", "mcnemar"):
        raw = [r[f"{test}_p"] for r in found["pairs"]]
        adjusted = [r[f"{test}_p_holm"] for r in found["pairs"]]
        assert min(adjusted) == pytest.approx(min(1.0, 3 * min(raw)))


def test_agreement_of_the_seeds_of_a_model(found):
    # LeNet's seeds differ on example 1 alone, the ViT's on 0, 1 and 6.
    assert row(found["models"], model="lenet")["seeds_agreement"] == pytest.approx(0.9)
    assert row(found["models"], model="vit")["seeds_agreement"] == pytest.approx(0.7)


def test_fronts(found):
    front = {r["model"]: r["on_front"] for r in found["pareto"] if r["cost"] == "macs"}
    assert front == {"lenet": True, "mlp": True, "vit": False}
    # All cost the same memory, so that the best alone is left.
    front = {r["model"]: r["on_front"] for r in found["pareto"] if r["cost"] == "step_bytes"}
    assert front == {"lenet": True, "mlp": False, "vit": False}


def test_curves_are_over_images_and_arithmetic(found):
    rows = [r for r in found["curves"] if r["model"] == "lenet"]
    assert [(r["step"], r["images"], r["train_macs"]) for r in rows] == [
        (10, 40, 48_000),
        (20, 80, 96_000),
    ]
    assert [r["accuracy_mean"] for r in rows] == [pytest.approx(0.425), pytest.approx(0.85)]


def test_robustness_has_a_gap_where_a_model_cannot(found):
    one = row(found["robustness"], model="lenet", condition="shift", amount=4.0)
    assert one["accuracy_mean"] == pytest.approx(0.425)
    one = row(found["robustness"], model="mlp", condition="size", amount=20.0)
    assert one["accuracy_mean"] is None
    assert len({tuple(r) for r in found["robustness"]}) == 1


def test_every_change_begins_with_none(found):
    for condition, start in (("shift", 0.0), ("size", 28.0)):
        one = row(found["robustness"], model="lenet", condition=condition, amount=start)
        assert one["accuracy_mean"] == pytest.approx(0.85)


def test_shares_are_in_the_efficiency_and_the_runs_and_nowhere_else(tmp_path):
    found = tables(tmp_path, fractions=(0.1, 1.0))
    one = row(found["efficiency"], model="lenet", fraction=0.1)
    assert one["num_train"] == 10
    assert one["accuracy_mean"] == pytest.approx(0.55)
    assert len(found["runs"]) == 12
    assert len(found["models"]) == 3
    assert len(found["pairs"]) == 3
    assert row(found["models"], model="lenet")["accuracy_mean"] == pytest.approx(0.85)


def test_one_seed_has_no_deviation_and_no_t_test(tmp_path):
    found = tables(tmp_path, seeds=(0,))
    assert row(found["models"], model="lenet")["accuracy_std"] is None
    assert row(found["models"], model="lenet")["seeds_agreement"] is None
    one = row(found["pairs"], left="lenet", right="mlp")
    assert one["t_p"] is None
    assert one["t_p_holm"] is None
    # Three examples that only LeNet has right: 2 / 8.
    assert one["mcnemar_p"] == pytest.approx(0.25)


def test_tables_are_plain_json(found):
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_an_unfinished_run_is_one_line(tmp_path):
    hand.write(tmp_path)
    (tmp_path / "runs/mlp/1/seed1/measured.json").unlink()
    with pytest.raises(UserError, match=r"runs/mlp/1/seed1 is not done; the same cnn compare"):
        analysis.load(tmp_path, plan_file.read(tmp_path))
