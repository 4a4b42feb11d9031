"""References are our own outputs, laid out and named as torch's hooks would."""

import jax
import numpy as np
import pytest

from cnn import nn, pretrained
from cnn.errors import UserError
from cnn.pretrained import compare, network
from cnn.pretrained.files import Weights
from tests.models.rows import build, images


def make(name, layout=None):
    """The network, and what torch would say that its layers give."""
    x = images(name, 2)
    _, variables = build(name, x)
    variables = jax.tree.map(np.asarray, variables)
    state = pretrained.to_torch(name, variables, layout=layout)
    loaded = network.load(Weights(state), name)
    calls = nn.record(loaded.model(), variables, x)
    reference = {"input": np.moveaxis(np.asarray(x), -1, 1)}
    named = {key.rpartition(".")[0] for key in state}
    for layer in compare.layers_of(loaded, named):
        output = np.concatenate([calls[path].output for path in layer.paths], axis=-1)
        reference[layer.name] = np.moveaxis(output, -1, 1) if output.ndim == 4 else output
    return loaded, reference


@pytest.fixture(scope="module")
def resnet():
    return make("resnet_test")


def test_a_network_agrees_with_itself(resnet):
    loaded, reference = resnet
    outcome = compare.compare(loaded, reference)
    assert (outcome.first, outcome.absent) == (None, ())
    assert list(outcome.errors)[:2] == ["backbone/stem_conv", "backbone/stem_norm"]
    assert list(outcome.errors)[-1] == "head/logits"
    assert len(outcome.errors) == len(reference) - 1
    assert max(outcome.errors.values()) < 1e-6


def test_fused_layers_are_compared_as_one():
    loaded, reference = make("vit_test", "timm")
    assert reference["blocks.0.attn.qkv"].shape[-1] == 96
    outcome = compare.compare(loaded, reference)
    assert outcome.first is None
    three = "/".join(f"backbone/block0/attention/{x}" for x in ("query", "key", "value"))
    assert three in outcome.errors


def test_the_first_layer_that_differs_is_named(resnet):
    loaded, reference = resnet
    wrong = dict(reference)
    for name in ("layer1.0.conv2", "layer2.0.conv1", "fc"):
        wrong[name] = reference[name] + 0.1 * np.max(reference[name])
    outcome = compare.compare(loaded, wrong)
    assert outcome.first == compare.Layer(("backbone/stage0_block0/conv1",), "layer1.0.conv2")
    assert 0.05 < outcome.error < 0.15
    assert outcome.reason.startswith("unknown")
    assert "backbone/stage0_block0/norm0" in outcome.errors
    assert compare.compare(loaded, wrong, tolerance=0.2).first is None


def test_what_the_reference_lacks_is_listed(resnet):
    loaded, reference = resnet
    some = {name: reference[name] for name in ("input", "conv1", "fc")}
    outcome = compare.compare(loaded, some)
    assert list(outcome.errors) == ["backbone/stem_conv", "head/logits"]
    assert outcome.absent[:2] == ("bn1", "layer1.0.conv1")


def test_axes_may_lie_as_ours_and_names_may_be_ours(resnet):
    loaded, reference = resnet
    calls = nn.record(loaded.model(), loaded.variables, images("resnet_test", 2))
    ours = {"input": np.moveaxis(reference["input"], 1, -1)}
    for path in ("backbone/stem_conv", "head/logits"):
        ours[path] = np.asarray(calls[path].output)
    assert list(compare.compare(loaded, ours).errors) == ["backbone/stem_conv", "head/logits"]


def test_not_a_number_and_other_shapes_never_agree(resnet):
    loaded, reference = resnet
    for wrong in (reference["fc"] * np.nan, reference["fc"][:, :2]):
        outcome = compare.compare(loaded, {**reference, "fc": wrong})
        assert outcome.first.name == "fc"
        assert outcome.error == np.inf


def test_references_that_do_not_belong_are_refused(resnet, tmp_path):
    loaded, reference = resnet
    with pytest.raises(UserError, match=r"none of the layers of resnet_test.*'stranger'"):
        compare.compare(loaded, {"input": reference["input"], "stranger": np.ones(1)})
    with pytest.raises(UserError, match=r"takes images of 3 channels"):
        compare.compare(loaded, {**reference, "input": np.ones((1, 4, 8, 8))})
    np.savez(tmp_path / "x.npz", conv1=np.ones(1))
    with pytest.raises(UserError, match="has no array 'input' of four axes"):
        compare.read_reference(tmp_path / "x.npz")
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(content[:50])
    with pytest.raises(UserError, match=r"no \.npz, or damaged"):
        compare.read_reference(tmp_path / "x.npz")
    np.savez(tmp_path / "code.npz", input=np.array([print], object))
    with pytest.raises(UserError, match=r"allow_pickle"):
        compare.read_reference(tmp_path / "code.npz")
    with pytest.raises(UserError, match=r"cannot read .*none.npz: No such file"):
        compare.read_reference(tmp_path / "none.npz")
