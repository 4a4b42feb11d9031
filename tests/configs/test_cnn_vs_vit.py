"""The comparison that the repository has, in both its sizes."""

import pathlib

import pytest

from cnn.cli import config_file
from cnn.compare import budget, settings

ROOT = pathlib.Path(__file__).parents[2]
FILE = str(ROOT / "configs/mnist5k/cnn_vs_vit.py")


@pytest.mark.parametrize("size", ["", ":demo"])
def test_every_model_can_be_planned_and_all_kinds_are_there(size):
    comparison = settings.read(config_file.read(f"{FILE}{size}", []))
    groups = budget.plan(comparison, lambda name, config: 1.0)
    kinds = {group.model: group.kind for group in groups}
    assert kinds == {
        "convnext": "CNN",
        "lenet5": "CNN",
        "mlp": "MLP",
        "resnet": "CNN",
        "vit": "ViT",
    }
    assert len(groups) == 5 * len(comparison.fractions)
    assert len(comparison.seeds) == (3 if size else 5)
    assert set(comparison.fractions) == ({1.0} if size else {0.01, 0.1, 1.0})
