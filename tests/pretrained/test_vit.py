from typing import Any

import numpy as np
import pytest

from cnn import pretrained
from cnn.errors import UserError
from cnn.pretrained.vit import image_size
from tests.models.rows import build, images

TORCHVISION = {
    "class_token": (1, 1, 32),
    "encoder.pos_embedding": (1, 17, 32),
    "conv_proj.weight": (32, 3, 8, 8),
    "conv_proj.bias": (32,),
    "encoder.layers.encoder_layer_0.ln_1.weight": (32,),
    "encoder.layers.encoder_layer_0.ln_1.bias": (32,),
    "encoder.layers.encoder_layer_0.self_attention.in_proj_weight": (96, 32),
    "encoder.layers.encoder_layer_0.self_attention.in_proj_bias": (96,),
    "encoder.layers.encoder_layer_0.self_attention.out_proj.weight": (32, 32),
    "encoder.layers.encoder_layer_0.self_attention.out_proj.bias": (32,),
    "encoder.layers.encoder_layer_0.ln_2.weight": (32,),
    "encoder.layers.encoder_layer_0.ln_2.bias": (32,),
    "encoder.layers.encoder_layer_0.mlp.0.weight": (128, 32),
    "encoder.layers.encoder_layer_0.mlp.0.bias": (128,),
    "encoder.layers.encoder_layer_0.mlp.3.weight": (32, 128),
    "encoder.layers.encoder_layer_0.mlp.3.bias": (32,),
    "encoder.ln.weight": (32,),
    "encoder.ln.bias": (32,),
    "heads.head.weight": (5, 32),
    "heads.head.bias": (5,),
}


def in_timm(name: str) -> str:
    for theirs, ours in (
        ("class_token", "cls_token"),
        ("encoder.pos_embedding", "pos_embed"),
        ("conv_proj", "patch_embed.proj"),
        ("encoder.layers.encoder_layer_0", "blocks.0"),
        ("ln_", "norm"),
        ("self_attention.in_proj_", "attn.qkv."),
        ("self_attention.out_proj", "attn.proj"),
        ("mlp.0", "mlp.fc1"),
        ("mlp.3", "mlp.fc2"),
        ("encoder.ln", "norm"),
        ("heads.head", "head"),
    ):
        name = name.replace(theirs, ours)
    return name


def shapes(layout: str, name: str = "vit_test", **fields: Any) -> dict[str, tuple[int, ...]]:
    _, variables = build(name, depth=1, **fields)
    state = pretrained.to_torch(name, variables, layout=layout, depth=1, **fields)
    return {name: tensor.shape for name, tensor in state.items()}


def test_names():
    assert shapes("torchvision") == TORCHVISION
    assert shapes("timm") == {in_timm(name): shape for name, shape in TORCHVISION.items()}


def test_names_of_a_distilled_network():
    plain, distilled = shapes("timm"), shapes("timm", pool="distilled")
    assert distilled == {
        **plain,
        "pos_embed": (1, 18, 32),
        "dist_token": (1, 1, 32),
        "head_dist.weight": (5, 32),
        "head_dist.bias": (5,),
    }


@pytest.mark.parametrize(
    ("layout", "scales"),
    [
        ("timm", ("blocks.0.ls1.gamma", "blocks.0.ls2.gamma")),
        ("official", ("blocks.0.gamma_1", "blocks.0.gamma_2")),
    ],
)
def test_names_of_deit_3(layout, scales):
    ours = shapes(layout, "deit_test", pool="token")
    assert ours == {**shapes("timm"), "pos_embed": (1, 16, 32), **dict.fromkeys(scales, (32,))}


def test_layer_scales_of_attention_come_first():
    _, variables = build("deit_test")
    state = pretrained.to_torch("deit_test", variables)
    block = variables["params"]["backbone"]["block1"]
    np.testing.assert_array_equal(state["blocks.1.ls1.gamma"], block["attention_scale"])
    np.testing.assert_array_equal(state["blocks.1.ls2.gamma"], block["mlp_scale"])
    official = pretrained.to_torch("deit_test", variables, layout="official")
    back = pretrained.from_torch("deit_test", official)
    np.testing.assert_array_equal(
        back["params"]["backbone"]["block1"]["mlp_scale"], block["mlp_scale"]
    )


def test_a_norm_after_the_average_is_another_network():
    _, variables = build("vit_test", pool="gap")
    state = pretrained.to_torch("vit_test", variables, pool="gap")
    moved = {
        name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: tensor
        for name, tensor in state.items()
    }
    with pytest.raises(UserError, match=r"lacks 'norm.weight'"):
        pretrained.from_torch("vit_test", moved, pool="gap")


def test_queries_come_before_keys_before_values():
    _, variables = build("vit_test")
    fused = pretrained.to_torch("vit_test", variables)["blocks.1.attn.qkv.weight"]
    attention = variables["params"]["backbone"]["block1"]["attention"]
    for index, name in enumerate(("query", "key", "value")):
        part = fused[32 * index : 32 * (index + 1)]
        np.testing.assert_array_equal(part, np.asarray(attention[name]["kernel"]).T)


@pytest.mark.parametrize(
    ("pool", "position", "tokens"),
    [
        ("token", "learned", 18),
        ("gap", "learned", 17),
        ("distilled", "learned", 19),
        ("distilled", "learned_patches", 17),
    ],
)
def test_an_image_of_as_many_patches(pool, position, tokens):
    model, _ = build("vit_test", images("vit_test", 1), pool=pool, position=position)
    assert image_size(model.backbone, lambda path: (1, tokens, 32)) == (8, 8 * 17)
    assert image_size(model.backbone, lambda path: None) is None
