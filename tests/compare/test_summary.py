"""The five sentences, of a comparison that was made by hand."""

import pytest

from cnn.compare import analysis, plan_file
from cnn.compare.summary import summary
from tests.compare import hand


def sentences(workdir, **changes):
    hand.write(workdir, **changes)
    plan = plan_file.read(workdir)
    tables = analysis.tables(analysis.load(workdir, plan), 28)
    plain = [text.replace("\N{NO-BREAK SPACE}", " ") for text in summary(tables, plan.budget)]
    assert all(text.endswith(".") and "None" not in text and "nan" not in text for text in plain)
    return plain


def test_five_sentences_with_the_numbers(tmp_path):
    assert sentences(tmp_path) == [
        "With 20 steps for each training and 2 seeds, lenet is the most accurate of 3 with 85.00 ± "
        "7.07 % (95 % interval over seeds 21.47 to 100.00 %), mlp the least with 60.00 ± 0.00 %.",
        "Of the best CNN and the best ViT, lenet is 10.00 points more accurate than vit, which may "
        "be chance by McNemar's test on their errors (p = 1.000 after Holm's correction) and may "
        "be chance by a paired t-test over seeds (p = 0.500).",
        "By arithmetic, 1 of 3 models is no better than one that takes less; the rest, from the "
        "cheapest on: mlp (300 MACs an image, 60.00 ± 0.00 %), lenet (400 MACs an image, 85.00 ± "
        "7.07 %).",
        "The most accurate on changed images: under a shift of 4 px lenet (42.5 %), least mlp "
        "(30.0 %).",
        "lenet is calibrated best (expected calibration error 17.50 %) and mlp worst (30.00 %), "
        "and the errors most alike are those of lenet and mlp (kappa 0.42).",
    ]


def test_shares_of_the_data_take_the_place_of_arithmetic(tmp_path):
    third = sentences(tmp_path, fractions=(0.1, 1.0))[2]
    assert third == (
        "From 10 examples, 10 % of the training set, lenet learns most (55.00 ± 7.07 %) and mlp "
        "least (30.00 ± 0.00 %)."
    )


def test_one_seed(tmp_path):
    first, second = sentences(tmp_path, seeds=(0,))[:2]
    assert "and 1 seed, lenet is the most accurate of 3 with 90.00 %, mlp the least" in first
    assert "; seeds are too few, or too equal, for a paired t-test." in second


def test_without_a_vit_the_best_two_are_compared(tmp_path, monkeypatch):
    monkeypatch.setitem(hand.KINDS, "vit", "MLP")
    second = sentences(tmp_path)[1]
    assert second.startswith("Of the best two, lenet is 10.00 points more accurate than vit,")


@pytest.mark.parametrize("only", ["lenet", "vit"])
def test_one_model(tmp_path, monkeypatch, only):
    monkeypatch.setattr(hand, "WRONG", {only: hand.WRONG[only]})
    found = sentences(tmp_path)
    assert found[1] == "There is one model, so nothing is tested."
    assert len(found) == 5
