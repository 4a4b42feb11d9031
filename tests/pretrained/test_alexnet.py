from cnn import pretrained
from tests.models.rows import build

TORCHVISION = {
    "features.0.weight": (4, 3, 5, 5),
    "features.0.bias": (4,),
    "features.3.weight": (8, 2, 5, 5),
    "features.3.bias": (8,),
    "features.6.weight": (6, 8, 3, 3),
    "features.6.bias": (6,),
    "features.8.weight": (8, 3, 3, 3),
    "features.8.bias": (8,),
    "features.10.weight": (6, 4, 3, 3),
    "features.10.bias": (6,),
    "classifier.1.weight": (12, 24),
    "classifier.1.bias": (12,),
    "classifier.4.weight": (10, 12),
    "classifier.4.bias": (10,),
    "classifier.6.weight": (5, 10),
    "classifier.6.bias": (5,),
}


def test_names():
    state = pretrained.to_torch("alexnet_test", build("alexnet_test")[1])
    assert {name: tensor.shape for name, tensor in state.items()} == TORCHVISION
