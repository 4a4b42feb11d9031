from cnn import pretrained
from cnn.pretrained.mixer import image_size
from tests.models.rows import build

TIMM = {
    "stem.proj.weight": (16, 3, 8, 8),
    "stem.proj.bias": (16,),
    "blocks.0.norm1.weight": (16,),
    "blocks.0.norm1.bias": (16,),
    "blocks.0.mlp_tokens.fc1.weight": (6, 16),
    "blocks.0.mlp_tokens.fc1.bias": (6,),
    "blocks.0.mlp_tokens.fc2.weight": (16, 6),
    "blocks.0.mlp_tokens.fc2.bias": (16,),
    "blocks.0.norm2.weight": (16,),
    "blocks.0.norm2.bias": (16,),
    "blocks.0.mlp_channels.fc1.weight": (24, 16),
    "blocks.0.mlp_channels.fc1.bias": (24,),
    "blocks.0.mlp_channels.fc2.weight": (16, 24),
    "blocks.0.mlp_channels.fc2.bias": (16,),
    "norm.weight": (16,),
    "norm.bias": (16,),
    "head.weight": (5, 16),
    "head.bias": (5,),
}


def test_names():
    _, variables = build("mixer_test", depth=1)
    state = pretrained.to_torch("mixer_test", variables, depth=1)
    assert {name: tensor.shape for name, tensor in state.items()} == TIMM


def test_an_image_of_as_many_patches():
    model, _ = build("mixer_test", depth=1)
    assert image_size(model.backbone, lambda path: (17, 6)) == (8, 8 * 17)
    assert image_size(model.backbone, lambda path: None) is None
