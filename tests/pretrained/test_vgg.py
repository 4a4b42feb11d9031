import numpy as np
import pytest

from cnn import pretrained
from tests.models.rows import build

TORCHVISION = {
    "features.0.weight": (4, 3, 3, 3),
    "features.0.bias": (4,),
    "features.3.weight": (8, 4, 3, 3),
    "features.3.bias": (8,),
    "features.5.weight": (8, 8, 3, 3),
    "features.5.bias": (8,),
    "classifier.0.weight": (12, 72),
    "classifier.0.bias": (12,),
    "classifier.3.weight": (10, 12),
    "classifier.3.bias": (10,),
    "classifier.6.weight": (5, 10),
    "classifier.6.bias": (5,),
}
TIMM = {
    **{name: shape for name, shape in TORCHVISION.items() if name.startswith("features")},
    "pre_logits.fc1.weight": (12, 8, 3, 3),
    "pre_logits.fc1.bias": (12,),
    "pre_logits.fc2.weight": (10, 12, 1, 1),
    "pre_logits.fc2.bias": (10,),
    "head.fc.weight": (5, 10),
    "head.fc.bias": (5,),
}


@pytest.mark.parametrize(("layout", "expected"), [("torchvision", TORCHVISION), ("timm", TIMM)])
def test_names(layout, expected):
    _, variables = build("vgg_test", batch_norm=False)
    state = pretrained.to_torch("vgg_test", variables, layout=layout, batch_norm=False)
    assert {name: tensor.shape for name, tensor in state.items()} == expected


def test_norms_count_in_the_names():
    state = pretrained.to_torch("vgg_test", build("vgg_test")[1])
    numbers = {int(name.split(".")[1]) for name in state if name.startswith("features")}
    assert numbers == {0, 1, 4, 5, 7, 8}
    assert state["features.7.weight"].shape == (8, 8, 3, 3)
    assert state["features.8.running_var"].shape == (8,)


def test_torch_flattens_channels_first():
    _, variables = build("vgg_test")
    kernel = np.asarray(variables["params"]["head"]["hidden0"]["kernel"])
    weight = pretrained.to_torch("vgg_test", variables)["classifier.0.weight"]
    row, column, channel, unit = 2, 1, 5, 7
    assert weight[unit, (channel * 3 + row) * 3 + column] == kernel[row, column, channel, unit]
    timm = pretrained.to_torch("vgg_test", variables, layout="timm")["pre_logits.fc1.weight"]
    np.testing.assert_array_equal(timm.reshape(12, -1), weight)
