import jax
import numpy as np
import pytest

from cnn import pretrained
from tests.models.rows import build, images

DOT = {"torchvision": "", "torchvision_file": "."}


def state(layout: str) -> dict[str, np.ndarray]:
    fields = {"depths": (1, 1), "growth_rate": 4, "stem_width": 8, "stem": "imagenet"}
    _, variables = build("densenet_test", images("densenet_test", 1), **fields)
    state = pretrained.to_torch("densenet_test", variables, layout=layout, **fields)
    assert jax.tree.all(
        jax.tree.map(
            np.array_equal, pretrained.from_torch("densenet_test", state, **fields), variables
        )
    )
    return state


@pytest.mark.parametrize("layout", DOT)
def test_names(layout):
    dot = DOT[layout]
    norms = {
        f"features.{norm}.{leaf}": (size,) if leaf != "num_batches_tracked" else ()
        for norm, size in {
            "norm0": 8,
            f"denseblock1.denselayer1.norm{dot}1": 8,
            f"denseblock1.denselayer1.norm{dot}2": 16,
            "transition1.norm": 12,
            f"denseblock2.denselayer1.norm{dot}1": 6,
            f"denseblock2.denselayer1.norm{dot}2": 16,
            "norm5": 10,
        }.items()
        for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert {name: tensor.shape for name, tensor in state(layout).items()} == {
        **norms,
        "features.conv0.weight": (8, 3, 7, 7),
        f"features.denseblock1.denselayer1.conv{dot}1.weight": (16, 8, 1, 1),
        f"features.denseblock1.denselayer1.conv{dot}2.weight": (4, 16, 3, 3),
        "features.transition1.conv.weight": (6, 12, 1, 1),
        f"features.denseblock2.denselayer1.conv{dot}1.weight": (16, 6, 1, 1),
        f"features.denseblock2.denselayer1.conv{dot}2.weight": (4, 16, 3, 3),
        "classifier.weight": (5, 10),
        "classifier.bias": (5,),
    }
