from cnn import pretrained
from cnn.models.inception import Module
from tests.models.rows import build, images

STAGES = (
    (Module("A", ((2,), (2, 2), (2, 2, 2)), 2),),
    (
        Module("B", ((2,), (2, 2, 2))),
        Module("C", ((2,), (2, 2, 2), (2, 2, 2, 2, 2)), 2, auxiliary=True),
    ),
    (Module("D", ((2, 2), (2, 2, 2, 2))), Module("E", ((2,), (2, 2), (2, 2, 2)), 2)),
)
LAYERS = {
    "Conv2d_1a_3x3",
    "Conv2d_2a_3x3",
    "Conv2d_2b_3x3",
    "Conv2d_3b_1x1",
    "Conv2d_4a_3x3",
    "Mixed_5b.branch1x1",
    *(f"Mixed_5b.branch5x5_{i}" for i in (1, 2)),
    *(f"Mixed_5b.branch3x3dbl_{i}" for i in (1, 2, 3)),
    "Mixed_5b.branch_pool",
    "Mixed_6a.branch3x3",
    *(f"Mixed_6a.branch3x3dbl_{i}" for i in (1, 2, 3)),
    "Mixed_6b.branch1x1",
    *(f"Mixed_6b.branch7x7_{i}" for i in (1, 2, 3)),
    *(f"Mixed_6b.branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)),
    "Mixed_6b.branch_pool",
    *(f"Mixed_7a.branch3x3_{i}" for i in (1, 2)),
    *(f"Mixed_7a.branch7x7x3_{i}" for i in (1, 2, 3, 4)),
    "Mixed_7b.branch1x1",
    *(f"Mixed_7b.branch3x3_{i}" for i in ("1", "2a", "2b")),
    *(f"Mixed_7b.branch3x3dbl_{i}" for i in ("1", "2", "3a", "3b")),
    "Mixed_7b.branch_pool",
    "AuxLogits.conv0",
    "AuxLogits.conv1",
}
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def test_names():
    fields = {"stages": STAGES}
    _, variables = build("inception_test", images("inception_test", 1), **fields)
    state = pretrained.to_torch("inception_test", variables, **fields)
    dense = {f"{layer}.{leaf}" for layer in ("fc", "AuxLogits.fc") for leaf in ("weight", "bias")}
    norms = {f"{layer}.bn.{leaf}" for layer in LAYERS for leaf in NORM}
    assert set(state) == dense | norms | {f"{layer}.conv.weight" for layer in LAYERS}
    # The width is the kernel's last axis on both sides.
    assert state["Mixed_6b.branch7x7_2.conv.weight"].shape == (2, 2, 1, 7)
    assert state["Mixed_7b.branch3x3_2a.conv.weight"].shape == (2, 2, 1, 3)
    assert state["Mixed_7b.branch3x3_2b.conv.weight"].shape == (2, 2, 3, 1)
