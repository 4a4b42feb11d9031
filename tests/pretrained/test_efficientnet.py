from cnn import pretrained
from cnn.models.efficientnet import Stage
from tests.models.rows import build, images

STAGES = (
    Stage(8, 1, fused=True),
    Stage(8, 1, 2, 4, fused=True),
    Stage(8, 1),
    Stage(16, 1, 2, 6, 5),
)
TORCHVISION = {
    "features.0.0.weight": (8, 3, 3, 3),
    "features.1.0.block.0.0.weight": (8, 8, 3, 3),
    "features.2.0.block.0.0.weight": (32, 8, 3, 3),
    "features.2.0.block.1.0.weight": (8, 32, 1, 1),
    "features.3.0.block.0.0.weight": (8, 1, 3, 3),
    "features.3.0.block.1.fc1.weight": (2, 8, 1, 1),
    "features.3.0.block.1.fc2.weight": (8, 2, 1, 1),
    "features.3.0.block.2.0.weight": (8, 8, 1, 1),
    "features.4.0.block.0.0.weight": (48, 8, 1, 1),
    "features.4.0.block.1.0.weight": (48, 1, 5, 5),
    "features.4.0.block.2.fc1.weight": (2, 48, 1, 1),
    "features.4.0.block.2.fc2.weight": (48, 2, 1, 1),
    "features.4.0.block.3.0.weight": (16, 48, 1, 1),
    "features.5.0.weight": (24, 16, 1, 1),
    "classifier.1.weight": (5, 24),
}
TIMM = {
    "conv_stem.weight": (8, 3, 3, 3),
    "blocks.0.0.conv.weight": (8, 8, 3, 3),
    "blocks.1.0.conv_exp.weight": (32, 8, 3, 3),
    "blocks.1.0.conv_pwl.weight": (8, 32, 1, 1),
    "blocks.2.0.conv_dw.weight": (8, 1, 3, 3),
    "blocks.2.0.se.conv_reduce.weight": (2, 8, 1, 1),
    "blocks.2.0.se.conv_expand.weight": (8, 2, 1, 1),
    "blocks.2.0.conv_pw.weight": (8, 8, 1, 1),
    "blocks.3.0.conv_pw.weight": (48, 8, 1, 1),
    "blocks.3.0.conv_dw.weight": (48, 1, 5, 5),
    "blocks.3.0.se.conv_reduce.weight": (2, 48, 1, 1),
    "blocks.3.0.se.conv_expand.weight": (48, 2, 1, 1),
    "blocks.3.0.conv_pwl.weight": (16, 48, 1, 1),
    "conv_head.weight": (24, 16, 1, 1),
    "classifier.weight": (5, 24),
}
TIMM_NORMS = {
    "bn1": 8,
    "blocks.0.0.bn1": 8,
    "blocks.1.0.bn1": 32,
    "blocks.1.0.bn2": 8,
    "blocks.2.0.bn1": 8,
    "blocks.2.0.bn2": 8,
    "blocks.3.0.bn1": 48,
    "blocks.3.0.bn2": 48,
    "blocks.3.0.bn3": 16,
    "bn2": 24,
}


def shapes(layout: str) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Shapes of the weights, and lengths of the norms."""
    _, variables = build("efficientnet_test", images("efficientnet_test", 1), stages=STAGES)
    state = pretrained.to_torch("efficientnet_test", variables, layout=layout, stages=STAGES)
    norms = {
        key.removesuffix(".running_mean"): len(tensor)
        for key, tensor in state.items()
        if key.endswith("running_mean")
    }
    weights = {key: tensor.shape for key, tensor in state.items() if key.endswith("weight")}
    return {key: shape for key, shape in weights.items() if len(shape) > 1}, norms


def test_torchvision():
    weights, norms = shapes("torchvision")
    assert weights == TORCHVISION
    # A norm stands behind its convolution.
    convs = {key.removesuffix(".0.weight"): shape[0] for key, shape in TORCHVISION.items()}
    assert norms == {f"{key}.1": size for key, size in convs.items() if "weight" not in key}


def test_timm():
    assert shapes("timm") == (TIMM, TIMM_NORMS)
