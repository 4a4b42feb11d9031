import jax
import numpy as np
import pytest

from cnn import pretrained
from cnn.errors import UserError
from tests.models.rows import build

BRANCHES = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")


def of_layers(*layers: str) -> set[str]:
    """The tensors of a convolution and its norm."""
    leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{x}.{y}" for x in layers for y in ("conv.weight", *(f"bn.{leaf}" for leaf in leaves))}


def test_names():
    _, variables = build("googlenet_test")
    state = pretrained.to_torch("googlenet_test", variables)
    modules = [f"inception{stage}a.{branch}" for stage in (3, 4) for branch in BRANCHES]
    dense = [f"aux{i}.{layer}" for i in (1, 2) for layer in ("fc1", "fc2")]
    assert set(state) == {
        *of_layers("conv1", "conv2", "conv3", *modules, "aux1.conv", "aux2.conv"),
        *(f"{layer}.{leaf}" for layer in (*dense, "fc") for leaf in ("weight", "bias")),
    }


def test_torch_flattens_channels_first():
    _, variables = build("googlenet_test")
    kernel = np.asarray(variables["params"]["head"]["auxiliary1"]["hidden"]["kernel"])
    weight = pretrained.to_torch("googlenet_test", variables)["aux2.fc1.weight"]
    row, column, channel, unit = 2, 1, 3, 5
    assert weight[unit, (channel * 4 + row) * 4 + column] == kernel[row, column, channel, unit]


@pytest.mark.parametrize("name", ["googlenet_test", "inception_test"])
def test_auxiliary_classifiers_are_recognised_both_ways(name):
    """A state dict without them is of a network without them, unless it is said to have them."""
    _, variables = build(name, auxiliary=False)
    state = pretrained.to_torch(name, variables)
    assert not any(key.lower().startswith("aux") for key in state)
    back = pretrained.from_torch(name, state)
    assert jax.tree.all(jax.tree.map(np.array_equal, back, variables))
    first = {"googlenet_test": "aux1.conv.conv.weight"}.get(name, "AuxLogits.conv0.conv.weight")
    with pytest.raises(UserError, match=f"lacks '{first}'"):
        pretrained.from_torch(name, state, auxiliary=True)
    _, variables = build(name)
    state = pretrained.to_torch(name, variables)
    with pytest.raises(UserError, match=f"has '{first}', which this network has not"):
        pretrained.from_torch(name, state, auxiliary=False)
    del state[first]
    with pytest.raises(UserError, match=f"lacks '{first}'"):
        pretrained.from_torch(name, state)
