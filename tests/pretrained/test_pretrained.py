"""What holds for the conversion of every family."""

from typing import Any

import jax
import numpy as np
import pytest

from cnn import models, pretrained
from cnn.errors import UserError
from cnn.models.mobilenet import Row
from tests.models.rows import ROWS, build, evaluate, images

NAMES = [name for name in ROWS if models.family_of(name) in pretrained.families()]
MOBILE_STAGES = ((Row(8),), (Row(8, 2, 3),))
LAYOUTS = [
    ("resnet_test", "torchvision", {}),
    ("resnet_test", "torchvision", {"shortcut": "A"}),
    ("resnet50", "timm", {"depths": (1, 2), "widths": (8, 16), "groups": 2}),
    ("resnet_test", "timm", {"attention": "se"}),
    ("resnet_test", "timm", {"attention": "eca", "shortcut": "D"}),
    ("resnet_test", "timm", {"attention": "cbam"}),
    ("resnet50d", "timm", {"depths": (1, 2), "widths": (8, 16)}),
    ("resnet_v2_test", "timm", {}),
    ("resnet50_v2", "timm", {"depths": (1, 2), "widths": (8, 16)}),
    ("densenet_test", "timm", {}),
    ("googlenet_test", "torchvision", {}),
    ("googlenet_test", "torchvision", {"auxiliary": False}),
    ("googlenet_test", "torchvision", {"batch_norm": False, "large_kernel_size": 5}),
    ("inception_test", "torchvision", {}),
    ("inception_test", "timm", {"auxiliary": False}),
    ("mobilenet_test", "torchvision", {}),
    ("mobilenet_test", "timm", {}),
    ("mobilenet_test", "timm", {"attention": "none"}),
    ("mobilenet_v2", "timm", {"stages": MOBILE_STAGES}),
    ("mobilenet_v2", "torchvision", {"stages": MOBILE_STAGES}),
    ("mobilenet_v1", "timm", {"stages": MOBILE_STAGES[:1]}),
    ("efficientnet_test", "torchvision", {}),
    ("efficientnet_test", "timm", {}),
    ("convnext_test", "timm", {}),
    ("convnext_tiny", "torchvision", {"depths": (1, 2), "widths": (8, 16)}),
    ("convnext_tiny", "timm", {"depths": (1, 2), "widths": (8, 16)}),
    ("convnext_tiny", "official", {"depths": (1, 2), "widths": (8, 16)}),
    ("convnext_iso_small", "official", {"depths": (2,), "widths": (8,)}),
    ("convnextv2_test", "timm", {}),
    ("convnextv2_test", "official", {}),
    ("convnextv2_tiny", "timm", {"depths": (1, 2), "widths": (8, 16)}),
    ("vit_test", "torchvision", {}),
    ("vgg_test", "torchvision", {}),
    ("vgg_test", "timm", {}),
    ("vgg_test", "torchvision", {"depths": [2, 1], "batch_norm": False, "hidden_sizes": [3]}),
    ("vgg_test", "torchvision", {"hidden_sizes": ()}),
    ("alexnet_test", "torchvision", {}),
    ("mixer_test", "timm", {}),
    ("vit_test", "timm", {}),
    ("vit_test", "timm", {"pool": "gap"}),
    ("vit_test", "timm", {"pool": "gap", "position": "sincos2d"}),
    ("vit_test", "timm", {"pool": "distilled"}),
    ("vit_test", "torchvision", {"position_grid": [3, 5]}),
    ("deit_test", "timm", {}),
    ("deit_test", "official", {}),
]


def same(left: Any, right: Any) -> bool:
    def equal(a: Any, b: Any) -> bool:
        return np.asarray(a).dtype == np.asarray(b).dtype and np.array_equal(a, b)

    return jax.tree.all(jax.tree.map(equal, left, right))


def make(name: str, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Variables and their state dict; of small networks, so that they are quick."""
    _, variables = build(name, images("resnet_test", 1), **fields)
    return variables, pretrained.to_torch(name, variables, **fields)


@pytest.mark.parametrize(("name", "layout", "fields"), LAYOUTS)
def test_there_and_back_is_bit_for_bit(name, layout, fields):
    variables, _ = make(name, **fields)
    state = pretrained.to_torch(name, variables, layout=layout, **fields)
    back = pretrained.from_torch(name, state, **fields)
    assert same(back, variables)
    assert same(pretrained.to_torch(name, back, layout=layout, **fields), state)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves((state, back)))


def test_like_a_state_dict_its_counters_order_and_names_come_back():
    _, state = make("resnet_test")
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    trained = {**state, **{name: np.array(7 + i) for i, name in enumerate(counters)}}
    trained = dict(sorted(trained.items()))
    variables = pretrained.from_torch("resnet_test", trained)
    back = pretrained.to_torch("resnet_test", variables, like=trained)
    assert list(back) == list(trained)
    assert same(back, trained)
    older = {name: array for name, array in trained.items() if name not in counters}
    back = pretrained.to_torch("resnet_test", variables, like=older)
    assert list(back) == list(older)
    assert same(back, older)


def test_like_a_state_dict_of_the_other_library():
    fields = {"stages": MOBILE_STAGES}
    variables, state = make("mobilenet_v2", **fields)
    state["features.0.1.num_batches_tracked"] = np.array(3)
    options = {"like": state, **fields}
    timms = pretrained.to_torch("mobilenet_v2", variables, layout="timm", **options)
    assert timms["bn1.num_batches_tracked"] == 3
    assert timms["bn2.num_batches_tracked"] == 0
    assert same(pretrained.to_torch("mobilenet_v2", variables, **options), state)


@pytest.mark.parametrize("name", NAMES)
def test_a_converted_network_computes_the_same(name):
    model, variables = build(name)
    back = pretrained.from_torch(name, pretrained.to_torch(name, variables))
    x = images(name)
    np.testing.assert_array_equal(evaluate(model, back, x), evaluate(model, variables, x))


@pytest.mark.parametrize("name", NAMES)
def test_missing_extra_and_wrong_tensors_are_named(name):
    _, state = make(name)
    keys = [key for key in state if not key.endswith("num_batches_tracked")]
    # Some of them, since each is the whole conversion; test_layout.py has every kind.
    for key in {*keys[:3], keys[len(keys) // 2], keys[-1]}:
        with pytest.raises(UserError, match=f"lacks '{key}'"):
            pretrained.from_torch(name, {k: v for k, v in state.items() if k != key})
        with pytest.raises(UserError, match=f"'{key}'"):
            pretrained.from_torch(name, {**state, key: np.ones((2, *state[key].shape), np.float32)})
    with pytest.raises(UserError, match="has 'stranger'"):
        pretrained.from_torch(name, {**state, "stranger": np.ones(1)})


@pytest.mark.parametrize("name", NAMES)
def test_variables_of_another_network_are_refused(name):
    variables, _ = make(name)
    with pytest.raises(UserError, match=r"lack 'params/backbone/stem_conv/kernel'"):
        pretrained.to_torch(name, {"params": {"head": variables["params"]["head"]}})
    with pytest.raises(UserError, match=r"have 'params/stranger'"):
        pretrained.to_torch(name, {**variables, "params": {**variables["params"], "stranger": 1}})
    wrong = jax.tree.map(lambda leaf: leaf[..., :1], variables)
    with pytest.raises(UserError, match=r"'params/.*' has shape .* and .* in "):
        pretrained.to_torch(name, wrong)


def test_a_state_dict_of_another_network_is_refused():
    _, state = make("resnet_test")
    with pytest.raises(
        UserError, match=r"'conv1.weight' has shape \(8, 3, 3, 3\).*\(64, 3, 7, 7\)"
    ):
        pretrained.from_torch("resnet18", state)
    with pytest.raises(
        UserError, match=r"lacks 'patch_embed.proj.weight' \(it begins with 'conv1.weight'\)"
    ):
        pretrained.from_torch("vit_test", state)
    with pytest.raises(UserError, match="it is empty"):
        pretrained.from_torch("vit_test", {})


def test_names_that_cannot_be_converted():
    with pytest.raises(UserError, match="unknown model"):
        pretrained.from_torch("resnet5", {})
    with pytest.raises(UserError, match="'lenet5' is of the family 'lenet'"):
        pretrained.from_torch("lenet5", {})
    variables, _ = make("resnet_test")
    with pytest.raises(
        UserError, match="unknown layout of resnet_test 'timmm'; did you mean 'timm'"
    ):
        pretrained.to_torch("resnet_test", variables, layout="timmm")


@pytest.mark.parametrize("name", NAMES)
def test_classes_channels_and_positions_are_the_state_dicts(name):
    x = images(name, 1)[:, :16, :24, :1]
    _, variables = build(name, x)
    state = pretrained.to_torch(name, variables)
    assert same(pretrained.from_torch(name, state), variables)


def test_dtypes_are_kept():
    _, state = make("resnet_test")
    half = {name: tensor.astype(np.float16) for name, tensor in state.items()}
    leaves = jax.tree.leaves(pretrained.from_torch("resnet_test", half))
    assert {leaf.dtype for leaf in leaves} == {np.dtype("float16")}
