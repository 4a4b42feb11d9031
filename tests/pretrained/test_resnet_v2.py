from cnn import pretrained
from tests.models.rows import build, images

LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def test_names_of_timm():
    fields = {"depths": (1, 1), "widths": (8, 16), "stem_width": 8}
    _, variables = build("resnet50_v2", images("resnet_v2_test", 1), **fields)
    state = pretrained.to_torch("resnet50_v2", variables, **fields)
    norms = {"norm": 64} | {
        f"stages.{stage}.blocks.0.norm{index + 1}": size
        for stage, sizes in enumerate(((8, 8, 8), (32, 16, 16)))
        for index, size in enumerate(sizes)
    }
    assert {name: tensor.shape for name, tensor in state.items()} == {
        **{
            f"{norm}.{leaf}": () if leaf == "num_batches_tracked" else (size,)
            for norm, size in norms.items()
            for leaf in LEAVES
        },
        "stem.conv.weight": (8, 3, 7, 7),
        "stages.0.blocks.0.downsample.conv.weight": (32, 8, 1, 1),
        "stages.0.blocks.0.conv1.weight": (8, 8, 1, 1),
        "stages.0.blocks.0.conv2.weight": (8, 8, 3, 3),
        "stages.0.blocks.0.conv3.weight": (32, 8, 1, 1),
        "stages.1.blocks.0.downsample.conv.weight": (64, 32, 1, 1),
        "stages.1.blocks.0.conv1.weight": (16, 32, 1, 1),
        "stages.1.blocks.0.conv2.weight": (16, 16, 3, 3),
        "stages.1.blocks.0.conv3.weight": (64, 16, 1, 1),
        "head.fc.weight": (5, 64, 1, 1),
        "head.fc.bias": (5,),
    }
