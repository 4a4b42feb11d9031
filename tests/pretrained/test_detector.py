import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import models, pretrained
from cnn.core import TrainState
from cnn.pretrained import initialise, network
from cnn.pretrained.facts import Facts
from cnn.pretrained.files import Weights
from cnn.pretrained.layout import nested, paths_of
from tests.heads.test_heads import shapes

ROWS = ("retinanet_test", "fasterrcnn_test", "maskrcnn_test")


def drawn(model, size=(32, 32)):
    rng = np.random.default_rng(0)
    paths = paths_of(shapes(model, size)[1])
    return nested({p: rng.standard_normal(x.shape).astype(np.float32) for p, x in paths.items()})


def same(left, right):
    return jax.tree.all(jax.tree.map(np.array_equal, left, right))


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("layout", ["torchvision", "torchvision_published"])
def test_the_number_of_classes_is_that_of_the_weights(name, layout):
    variables = drawn(models.detector(name, num_classes=5))
    loaded = network.load(Weights(pretrained.to_torch(name, variables, layout=layout)), name)
    assert same(loaded.variables, variables)
    assert (loaded.num_classes, loaded.layout) == (5, layout)
    assert loaded.model().num_classes == 5


def test_ssd_on_vgg_test():
    """Its layers are numbered by the depths of the backbone, here one and two convolutions."""
    fields = {"batch_norm": False}
    variables = drawn(models.detector("ssd_test", num_classes=5, **fields))
    state = pretrained.to_torch("ssd_test", variables, **fields)
    backbone = {name for name in state if name.startswith("backbone.") and "bias" in name}
    # Figure 2: what follows the last pooling that is read is the first of the extra modules.
    assert backbone == {
        "backbone.features.0.bias",
        *(f"backbone.extra.0.{place}.bias" for place in ("1", "3", "5.1", "5.3")),
        *(f"backbone.extra.{index}.{place}.bias" for index in (1, 2) for place in (0, 2)),
    }
    loaded = network.load(Weights(state), "ssd_test", **fields)
    assert same(loaded.variables, variables) and loaded.num_classes == 5


def test_torchvisions_names_before_it_changed_them():
    variables = drawn(models.detector("maskrcnn_test", num_classes=5))
    state = pretrained.to_torch("maskrcnn_test", variables, layout="torchvision_published")
    assert {
        "backbone.fpn.inner_blocks.1.weight",
        "backbone.fpn.layer_blocks.0.bias",
        "rpn.head.conv.weight",
        "roi_heads.mask_head.mask_fcn4.weight",
        "roi_heads.box_head.fc7.weight",
    } <= set(state)
    variables = drawn(models.detector("retinanet_test", num_classes=5, num_convs=2))
    state = pretrained.to_torch(
        "retinanet_test", variables, layout="torchvision_published", num_convs=2
    )
    assert "head.classification_head.conv.2.weight" in state
    assert "head.regression_head.conv.0.bias" in state


def test_a_classifiers_weights_for_the_backbone(tmp_path):
    classifier = drawn(models.classifier("resnet_test", num_classes=7))
    path = tmp_path / "resnet.safetensors"
    pretrained.write(path, pretrained.to_torch("resnet_test", classifier))
    variables = jax.tree.map(jnp.asarray, drawn(models.detector("retinanet_test", num_classes=5)))
    params = variables["params"]
    state = TrainState(
        jnp.zeros((), jnp.int32),
        params,
        {"batch_stats": variables["batch_stats"]},
        optax.identity().init(params),
    )
    initial = initialise.load_initial(
        state,
        Facts("retinanet_test"),
        weights=str(path),
        head="auto",
        channels="error",
        skip=(),
        part="backbone",
    )
    after = initial.apply(state)
    assert same(after.params["backbone"], classifier["params"]["backbone"])
    assert same(after.model_state["batch_stats"]["backbone"], classifier["batch_stats"]["backbone"])
    assert same(after.params["head"], params["head"])
