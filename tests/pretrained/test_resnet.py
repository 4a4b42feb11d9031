import jax
import pytest

from cnn import pretrained
from cnn.errors import UserError
from tests.models.rows import build, images


def test_names_of_a_bottleneck_network():
    fields = {"depths": (1, 1), "widths": (8, 16), "base_width": 64}
    _, variables = build("resnet50", images("resnet_test", 1), **fields)
    shapes = jax.tree.map(
        lambda leaf: leaf.shape, pretrained.to_torch("resnet50", variables, **fields)
    )
    norms = {
        f"{norm}.{leaf}": (size,) if leaf != "num_batches_tracked" else ()
        for norm, size in {
            "bn1": 8,
            "layer1.0.bn1": 8,
            "layer1.0.bn2": 8,
            "layer1.0.bn3": 32,
            "layer1.0.downsample.1": 32,
            "layer2.0.bn1": 16,
            "layer2.0.bn2": 16,
            "layer2.0.bn3": 64,
            "layer2.0.downsample.1": 64,
        }.items()
        for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert shapes == {
        **norms,
        "conv1.weight": (8, 3, 7, 7),
        "layer1.0.conv1.weight": (8, 8, 1, 1),
        "layer1.0.conv2.weight": (8, 8, 3, 3),
        "layer1.0.conv3.weight": (32, 8, 1, 1),
        "layer1.0.downsample.0.weight": (32, 8, 1, 1),
        "layer2.0.conv1.weight": (16, 32, 1, 1),
        "layer2.0.conv2.weight": (16, 16, 3, 3),
        "layer2.0.conv3.weight": (64, 16, 1, 1),
        "layer2.0.downsample.0.weight": (64, 32, 1, 1),
        "fc.weight": (5, 64),
        "fc.bias": (5,),
    }


def shapes(**fields) -> dict[str, tuple[int, ...]]:
    """Of a network of one block, but for the norms."""
    fields = {"depths": (1,), "widths": (16,), **fields}
    _, variables = build("resnet18", images("resnet_test", 1), **fields)
    state = pretrained.to_torch("resnet18", variables, **fields)
    norms = {key.rpartition(".")[0] for key in state if key.endswith("running_mean")}
    layers = {k: v.shape for k, v in state.items() if k.rpartition(".")[0] not in norms}
    return {**layers, **dict.fromkeys(norms, ())}


PLAIN = {
    "conv1.weight": (16, 3, 7, 7),
    "bn1": (),
    "layer1.0.conv1.weight": (16, 16, 3, 3),
    "layer1.0.bn1": (),
    "layer1.0.conv2.weight": (16, 16, 3, 3),
    "layer1.0.bn2": (),
    "fc.weight": (5, 16),
    "fc.bias": (5,),
}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("none", {}),
        (
            "se",
            {
                "layer1.0.se.fc1.weight": (8, 16, 1, 1),
                "layer1.0.se.fc1.bias": (8,),
                "layer1.0.se.fc2.weight": (16, 8, 1, 1),
                "layer1.0.se.fc2.bias": (16,),
            },
        ),
        ("eca", {"layer1.0.se.conv.weight": (1, 1, 3)}),
        (
            "cbam",
            {
                "layer1.0.se.channel.fc1.weight": (1, 16, 1, 1),
                "layer1.0.se.channel.fc2.weight": (16, 1, 1, 1),
                "layer1.0.se.spatial.conv.conv.weight": (1, 2, 7, 7),
                "layer1.0.se.spatial.conv.bn": (),
            },
        ),
    ],
)
def test_names_of_attention(kind, names):
    assert shapes(attention=kind) == {**PLAIN, **names}


def test_names_of_a_deep_stem():
    deep = {
        "conv1.0.weight": (8, 3, 3, 3),
        "conv1.1": (),
        "conv1.3.weight": (8, 8, 3, 3),
        "conv1.4": (),
        "conv1.6.weight": (16, 8, 3, 3),
    }
    rest = {key: shape for key, shape in PLAIN.items() if key != "conv1.weight"}
    assert shapes(stem="deep") == {**rest, **deep}


def test_behind_the_pool_of_a_shortcut_names_are_one_on():
    def of_shortcut(**fields):
        fields = {"depths": (1, 1), "widths": (8, 16), **fields}
        return {key for key in shapes(**fields) if "downsample" in key}

    assert of_shortcut() == {"layer2.0.downsample.0.weight", "layer2.0.downsample.1"}
    assert of_shortcut(shortcut="D") == {"layer2.0.downsample.1.weight", "layer2.0.downsample.2"}


def test_torchvision_has_no_attention_and_no_deep_stem():
    with pytest.raises(UserError, match="unknown layout of seresnet50 'torchvision'"):
        pretrained.to_torch("seresnet50", {}, layout="torchvision")
    with pytest.raises(UserError, match="unknown layout of resnet50d 'torchvision'"):
        pretrained.to_torch("resnet50d", {}, layout="torchvision")


@pytest.mark.parametrize("name", ["convnext_test", "mobilenet_test", "resnet_v2_test"])
def test_attention_that_torch_does_not_have_is_named(name):
    _, variables = build(name, attention="eca")
    with pytest.raises(UserError, match=r"no counterpart of 'backbone/stage0_block0/.*/conv'"):
        pretrained.to_torch(name, variables, attention="eca")
