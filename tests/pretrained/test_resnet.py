import jax

from cnn import pretrained
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
