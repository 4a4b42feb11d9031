import numpy as np
import pytest

from cnn import pretrained
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


def shapes(layout: str) -> dict[str, tuple[int, ...]]:
    _, variables = build("vit_test", depth=1)
    state = pretrained.to_torch("vit_test", variables, layout=layout, depth=1)
    return {name: tensor.shape for name, tensor in state.items()}


def test_names():
    assert shapes("torchvision") == TORCHVISION
    assert shapes("timm") == {in_timm(name): shape for name, shape in TORCHVISION.items()}


def test_queries_come_before_keys_before_values():
    _, variables = build("vit_test")
    fused = pretrained.to_torch("vit_test", variables)["blocks.1.attn.qkv.weight"]
    attention = variables["params"]["backbone"]["block1"]["attention"]
    for index, name in enumerate(("query", "key", "value")):
        part = fused[32 * index : 32 * (index + 1)]
        np.testing.assert_array_equal(part, np.asarray(attention[name]["kernel"]).T)


@pytest.mark.parametrize(("pool", "tokens"), [("token", 18), ("gap", 17)])
def test_an_image_of_as_many_patches(pool, tokens):
    model, _ = build("vit_test", images("vit_test", 1), pool=pool)
    assert image_size(model.backbone, lambda path: (1, tokens, 32)) == (8, 8 * 17)
    assert image_size(model.backbone, lambda path: None) is None
