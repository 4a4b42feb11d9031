import pytest

from cnn import pretrained
from cnn.models.mobilenet import Row
from tests.models.rows import build, images

STAGES = ((Row(8, squeeze=True),), (Row(8, 2, 3), Row(8, 1, 2, 5, True)))
PLAIN = ((Row(8),), (Row(8, 2, 3), Row(8, 1, 2)))
LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def names(name: str, layout: str, **fields) -> set[str]:
    """The tensors' names, of norms without their leaves."""
    fields = {"stem_width": 8, **fields}
    _, variables = build(name, images("mobilenet_test", 1), **fields)
    state = pretrained.to_torch(name, variables, layout=layout, **fields)
    norms = {key.rpartition(".")[0] for key in state if key.endswith("running_mean")}
    others = set(state) - {f"{norm}.{leaf}" for norm in norms for leaf in LEAVES}
    return {f"{norm} norm" for norm in norms} | others


def of_norms(*norms: str) -> set[str]:
    return {f"{norm} norm" for norm in norms}


def of_layers(*layers: str) -> set[str]:
    return {f"{layer}.{leaf}" for layer in layers for leaf in ("weight", "bias")}


def test_v3_of_torchvision():
    convs = ["0", "1.block.0", "1.block.2", "2.block.0", "2.block.1", "2.block.2"]
    convs += ["3.block.0", "3.block.1", "3.block.3", "4"]
    assert names("mobilenet_v3_small", "torchvision", stages=STAGES) == {
        *(f"features.{conv}.0.weight" for conv in convs),
        *of_norms(*(f"features.{conv}.1" for conv in convs)),
        *of_layers(
            "features.1.block.1.fc1",
            "features.1.block.1.fc2",
            "features.3.block.2.fc1",
            "features.3.block.2.fc2",
            "classifier.0",
            "classifier.3",
        ),
    }


def test_v3_of_timm():
    assert names("mobilenet_v3_small", "timm", stages=STAGES) == {
        "conv_stem.weight",
        "blocks.0.0.conv_dw.weight",
        "blocks.0.0.conv_pw.weight",
        "blocks.1.0.conv_pw.weight",
        "blocks.1.0.conv_dw.weight",
        "blocks.1.0.conv_pwl.weight",
        "blocks.1.1.conv_pw.weight",
        "blocks.1.1.conv_dw.weight",
        "blocks.1.1.conv_pwl.weight",
        "blocks.2.0.conv.weight",
        *of_norms("bn1", "blocks.0.0.bn1", "blocks.0.0.bn2", "blocks.2.0.bn1"),
        *of_norms(*(f"blocks.1.{block}.bn{i}" for block in (0, 1) for i in (1, 2, 3))),
        *of_layers("blocks.0.0.se.conv_reduce", "blocks.0.0.se.conv_expand"),
        *of_layers("blocks.1.1.se.conv_reduce", "blocks.1.1.se.conv_expand"),
        *of_layers("conv_head", "classifier"),
    }


def test_v2_of_torchvision():
    convs = ["0", "1.conv.0", "2.conv.0", "2.conv.1", "3.conv.0", "3.conv.1", "4"]
    assert names("mobilenet_v2", "torchvision", stages=PLAIN) == {
        *(f"features.{conv}.0.weight" for conv in convs),
        *of_norms(*(f"features.{conv}.1" for conv in convs)),
        *(f"features.{conv}.weight" for conv in ("1.conv.1", "2.conv.2", "3.conv.2")),
        *of_norms("features.1.conv.2", "features.2.conv.3", "features.3.conv.3"),
        *of_layers("classifier.1"),
    }


def test_v2_of_timm():
    state = names("mobilenet_v2", "timm", stages=PLAIN)
    assert {"conv_head.weight", "bn2 norm", "blocks.0.0.conv_pw.weight"} < state
    assert "conv_head.bias" not in state


@pytest.mark.parametrize("layout", ["torchvision", "timm"])
def test_layers_that_are_convolutions_in_torch(layout):
    _, variables = build("mobilenet_test")
    shapes = {
        name: tensor.shape
        for name, tensor in pretrained.to_torch("mobilenet_test", variables, layout=layout).items()
    }
    torchvision, timm = ("features.1.block.1.fc1", "blocks.0.0.se.conv_reduce")
    squeeze = torchvision if layout == "torchvision" else timm
    assert shapes[f"{squeeze}.weight"] == (8, 8, 1, 1)
    hidden = {"torchvision": ("classifier.0", ()), "timm": ("conv_head", (1, 1))}
    name, ones = hidden[layout]
    assert shapes[f"{name}.weight"] == (8, 16, *ones)
