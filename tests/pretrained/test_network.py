import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import pretrained
from cnn.errors import UserError
from cnn.pretrained import network
from cnn.pretrained.facts import Facts, Preprocessing
from cnn.pretrained.files import Weights
from cnn.pretrained.layout import paths_of
from tests.models.rows import build, images


@pytest.fixture(scope="module")
def variables():
    """Of 5 classes and 3 channels."""
    return jax.tree.map(np.asarray, build("resnet_test", images("resnet_test", 1))[1])


def ours(variables):
    return {"/".join(path): np.asarray(array) for path, array in paths_of(variables).items()}


def same(left, right):
    return jax.tree.all(jax.tree.map(np.array_equal, left, right))


def test_both_kinds_of_names_make_the_same_network(variables):
    torchs = Weights(pretrained.to_torch("resnet_test", variables))
    for weights, layout in ((torchs, "torchvision"), (Weights(ours(variables)), "cnn")):
        loaded = network.load(weights, "resnet_test")
        assert same(loaded.variables, variables)
        assert (loaded.layout, loaded.num_classes, loaded.channels) == (layout, 5, 3)
        assert loaded.model().head.num_classes == 5


def test_fields_come_with_the_weights_of_that_network_only():
    _, variables = build("resnet_test", images("resnet_test", 1), shortcut="A")
    facts = Facts("resnet_test", {"shortcut": "A"})
    loaded = network.load(Weights(ours(variables), facts), "resnet_test")
    assert loaded.model().backbone.shortcut == "A"
    with pytest.raises(UserError, match=r"lack .*shortcut_conv"):
        network.load(Weights(ours(variables), facts._replace(model="resnet18")), "resnet_test")


def test_dense_layers_on_maps_are_of_the_size_that_the_facts_say():
    """lenet has no conversion, and its first dense layer follows the image."""
    _, variables = build("lenet_test", jnp.zeros((1, 40, 40, 1)))
    facts = Facts(preprocess=Preprocessing(40))
    assert network.load(Weights(ours(variables), facts), "lenet_test").layout == "cnn"
    with pytest.raises(UserError, match=r"has shape .* in lenet_test"):
        network.load(Weights(ours(variables)), "lenet_test")


def test_our_names_are_checked_like_torchs(variables):
    tensors = ours(variables)
    first = next(iter(tensors))
    with pytest.raises(UserError, match=f"lack '{first}'"):
        network.load(Weights({k: v for k, v in tensors.items() if k != first}), "resnet_test")
    with pytest.raises(UserError, match="have 'params/stranger'"):
        network.load(Weights({**tensors, "params/stranger": np.ones(1)}), "resnet_test")
    with pytest.raises(UserError, match=f"'{first}' has shape"):
        network.load(Weights({**tensors, first: np.ones((1, 2))}), "resnet_test")


def test_the_name_is_the_users_or_the_weights():
    weights = Weights({}, Facts("resnet18"))
    assert network.name_of(weights, "", "x.pth") == "resnet18"
    assert network.name_of(weights, "vgg11", "x.pth") == "vgg11"
    with pytest.raises(UserError, match="unknown model 'resnet17'; did you mean"):
        network.name_of(weights, "resnet17", "x.pth")
    with pytest.raises(UserError, match="unknown model 'dcgan'"):
        network.name_of(weights, "dcgan", "x.pth")
    other = Weights({}, Facts("timms_name"))
    with pytest.raises(UserError, match=r"x\.pth does not say .*it says 'timms_name'.*--model"):
        network.name_of(other, "", "x.pth")


def test_default_preprocessing_has_as_many_means_as_channels():
    assert network.default_preprocessing("resnet_test", 3) == Preprocessing(32)
    assert len(network.default_preprocessing("resnet_test", 1).mean) == 1
