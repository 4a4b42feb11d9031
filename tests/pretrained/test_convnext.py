import numpy as np
import pytest

from cnn import pretrained
from tests.models.rows import build, images

TIMM = {
    "stem.0.weight": (8, 3, 4, 4),
    "stem.0.bias": (8,),
    "stem.1.weight": (8,),
    "stem.1.bias": (8,),
    "stages.0.blocks.0.gamma": (8,),
    "stages.0.blocks.0.conv_dw.weight": (8, 1, 7, 7),
    "stages.0.blocks.0.conv_dw.bias": (8,),
    "stages.0.blocks.0.norm.weight": (8,),
    "stages.0.blocks.0.norm.bias": (8,),
    "stages.0.blocks.0.mlp.fc1.weight": (32, 8),
    "stages.0.blocks.0.mlp.fc1.bias": (32,),
    "stages.0.blocks.0.mlp.fc2.weight": (8, 32),
    "stages.0.blocks.0.mlp.fc2.bias": (8,),
    "stages.1.downsample.0.weight": (8,),
    "stages.1.downsample.0.bias": (8,),
    "stages.1.downsample.1.weight": (16, 8, 2, 2),
    "stages.1.downsample.1.bias": (16,),
    "stages.1.blocks.0.gamma": (16,),
    "stages.1.blocks.0.conv_dw.weight": (16, 1, 7, 7),
    "stages.1.blocks.0.conv_dw.bias": (16,),
    "stages.1.blocks.0.norm.weight": (16,),
    "stages.1.blocks.0.norm.bias": (16,),
    "stages.1.blocks.0.mlp.fc1.weight": (64, 16),
    "stages.1.blocks.0.mlp.fc1.bias": (64,),
    "stages.1.blocks.0.mlp.fc2.weight": (16, 64),
    "stages.1.blocks.0.mlp.fc2.bias": (16,),
    "head.norm.weight": (16,),
    "head.norm.bias": (16,),
    "head.fc.weight": (5, 16),
    "head.fc.bias": (5,),
}


def in_torchvision(name: str) -> str:
    for ours, theirs in (
        ("stem", "features.0"),
        ("stages.0.blocks", "features.1"),
        ("stages.1.downsample", "features.2"),
        ("stages.1.blocks", "features.3"),
        ("gamma", "layer_scale"),
        ("conv_dw", "block.0"),
        (".0.norm", ".0.block.2"),
        ("mlp.fc1", "block.3"),
        ("mlp.fc2", "block.5"),
        ("head.norm", "classifier.0"),
        ("head.fc", "classifier.2"),
    ):
        name = name.replace(ours, theirs)
    return name


def in_the_authors_code(name: str) -> str:
    for ours, theirs in (
        ("stem", "downsample_layers.0"),
        ("stages.1.downsample", "downsample_layers.1"),
        ("blocks.", ""),
        ("conv_dw", "dwconv"),
        ("mlp.fc", "pwconv"),
        ("head.norm", "norm"),
        ("head.fc", "head"),
    ):
        name = name.replace(ours, theirs)
    return name


def shapes(name: str, layout: str, widths: tuple[int, ...] = (8, 16)) -> dict[str, tuple[int, ...]]:
    fields = {"depths": (1,) * len(widths), "widths": widths}
    _, variables = build(name, images("convnext_test", 1), **fields)
    state = pretrained.to_torch(name, variables, layout=layout, **fields)
    return {name: tensor.shape for name, tensor in state.items()}


def test_names_of_timm():
    assert shapes("convnext_tiny", "timm") == TIMM


def test_names_of_torchvision():
    expected = {
        in_torchvision(name): (*shape, 1, 1) if "gamma" in name else shape
        for name, shape in TIMM.items()
    }
    assert shapes("convnext_tiny", "torchvision") == expected


@pytest.mark.parametrize("name", ["convnext_atto", "convnext_nano"])
def test_the_smallest_have_convolutions_for_dense_layers_in_timm(name):
    expected = {
        name: (*shape, 1, 1) if "mlp" in name and "weight" in name else shape
        for name, shape in TIMM.items()
    }
    assert shapes(name, "timm") == expected


def test_names_of_the_authors():
    expected = {in_the_authors_code(name): shape for name, shape in TIMM.items()}
    assert shapes("convnext_tiny", "official") == expected


def test_names_of_the_authors_for_an_isotropic_network():
    first = {name: shape for name, shape in TIMM.items() if name.startswith("stages.0.blocks.0")}
    expected = {
        "stem.weight": (8, 3, 16, 16),
        "stem.bias": (8,),
        **{
            in_the_authors_code(name).replace("stages.0", "blocks"): shape
            for name, shape in first.items()
            if "gamma" not in name
        },
        "norm.weight": (8,),
        "norm.bias": (8,),
        "head.weight": (5, 8),
        "head.bias": (5,),
    }
    assert shapes("convnext_iso_small", "official", (8,)) == expected


@pytest.mark.parametrize(
    ("layout", "scale", "bias", "ones"),
    [
        ("timm", "blocks.0.mlp.grn.weight", "blocks.0.mlp.grn.bias", ()),
        ("official", "0.grn.gamma", "0.grn.beta", (1, 1, 1)),
    ],
)
def test_response_norms_of_v2_take_the_place_of_layer_scale(layout, scale, bias, ones):
    v1, v2 = (shapes(f"convnext{v}_tiny", layout) for v in ("", "v2"))
    norms = {
        f"stages.{stage}.{name}": (*ones, 4 * width)
        for stage, width in enumerate((8, 16))
        for name in (scale, bias)
    }
    assert v2 == {**{k: shape for k, shape in v1.items() if not k.endswith("gamma")}, **norms}


def test_the_library_is_recognised_by_the_names():
    _, variables = build("convnextv2_test")
    for layout in ("timm", "official"):
        state = pretrained.to_torch("convnextv2_test", variables, layout=layout)
        back = pretrained.from_torch("convnextv2_test", state)
        scale = back["params"]["backbone"]["stage1_block0"]["response_norm"]["scale"]
        kernel = back["params"]["backbone"]["stage1_block0"]["expand"]["kernel"]
        params = variables["params"]["backbone"]["stage1_block0"]
        np.testing.assert_array_equal(scale, params["response_norm"]["scale"])
        np.testing.assert_array_equal(kernel, params["expand"]["kernel"])
