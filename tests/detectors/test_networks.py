"""What holds for each detector that torchvision has too, and for the smallest of each kind."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models
from cnn.detectors.contract import Detector, Objects
from cnn.errors import UserError
from tests.heads.test_heads import count, draw, shapes

COUNTS = {
    "retinanet_resnet50_fpn": 34_014_999,
    "fasterrcnn_resnet50_fpn": 41_755_286,
    "maskrcnn_resnet50_fpn": 44_401_393,
    "ssd300_vgg16": 35_641_826,
}
"""Trained parameters, as torchvision publishes them with its weights."""

FROZEN = 53_120
"""Scales and biases of ResNet-50's batch norms, which torchvision does not count as parameters
where a trained backbone is loaded; without one it trains and counts them as well."""

ROWS = ("retinanet_test", "fasterrcnn_test", "maskrcnn_test", "ssd_test")
PARTS = {
    "retinanet_test": {"class", "box"},
    "ssd_test": {"class", "box"},
    "fasterrcnn_test": {"proposal_class", "proposal_box", "class", "box"},
    "maskrcnn_test": {"proposal_class", "proposal_box", "class", "box", "mask"},
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", COUNTS)
def test_parameters(name):
    source = models.source(name)
    model = models.detector(name, num_classes=source.num_classes)
    assert isinstance(model, Detector)
    size = (source.image_size, source.image_size)
    _, variables = shapes(model, size)
    frozen = 0 if name.startswith("ssd") else FROZEN
    assert count(variables["params"]) == COUNTS[name] + frozen


def test_the_tables_are_complete():
    kinds = {"retinanet", "faster_rcnn", "ssd"}
    assert {*COUNTS, *ROWS} == {
        name for name in models.detectors() if models.detection.family_of(name) in kinds
    }


@functools.cache
def case(name):
    """A tiny network with drawn weights, two images, and their objects."""
    model = models.detector(name, num_classes=3)
    variables = draw(shapes(model, (32, 24))[1])
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 32, 24, 3)), jnp.float32)
    boxes = [[0.1, 0.2, 0.6, 0.7], [0.3, 0.1, 0.9, 0.5], [0.4, 0.4, 0.5, 0.5]], [[0.0] * 4] * 3
    masks = jnp.zeros((2, 3, 32, 24)).at[:, :, 8:20, 3:20].set(1)
    objects = Objects(jnp.asarray(boxes), jnp.asarray([[2, 0, 1], [-1, -1, -1]]), masks)
    return model, variables, images, objects


def apply_losses(name, params, images, objects, *, seed=0, **fields):
    variables = {**case(name)[1], "params": params}
    return models.detector(name, num_classes=3, **fields).apply(
        variables,
        images,
        objects,
        method="losses",
        mutable=["batch_stats"],
        rngs={"sample": jax.random.key(seed)},
    )


@functools.cache
def detect(name):
    """The detections of two images, and with another one for the second."""
    model, variables, images, _ = case(name)
    found = jax.jit(lambda images: model.apply(variables, images, method="detect"))
    return jax.device_get((found(images), found(images.at[1].set(images[0] * 2))))


@pytest.fixture(scope="module", params=("retinanet_test", "maskrcnn_test", "ssd_test"))
def trained(request):
    """Gradients, losses and moved statistics by the key of the draws; Faster is Mask R-CNN."""
    _, variables, images, objects = case(request.param)

    def loss_fn(params, seed):
        parts, moved = apply_losses(request.param, params, images, objects, seed=seed)
        return sum(jnp.sum(part) for part in parts.values()), (parts, moved)

    step = jax.jit(jax.grad(loss_fn, has_aux=True))
    return request.param, lambda seed: step(variables["params"], seed)


@pytest.mark.parametrize("name", ("retinanet_test", "maskrcnn_test", "ssd_test"))
def test_detections(name):
    found, others = detect(name)
    count = models.detection.family(name).VARIANTS[name]["max_detections"]
    assert found.boxes.shape == (2, count, 4)
    real = found.labels >= 0
    assert real.any() and np.all(found.labels < 3)
    assert np.all((found.scores > 0) == real) and np.all(found.scores <= 1)
    assert np.all(np.diff(found.scores) <= 0)
    assert np.all((found.boxes >= 0) & (found.boxes <= 1))
    assert np.all(found.boxes[real][:, 2:] >= found.boxes[real][:, :2])
    np.testing.assert_allclose(found.scores[0], others.scores[0], rtol=1e-4, atol=1e-5)
    assert not np.allclose(found.scores[1], others.scores[1])
    if name == "maskrcnn_test":
        assert found.masks.shape == (2, count, 28, 28)
        assert np.all((found.masks >= 0) & (found.masks <= 1))
    else:
        assert found.masks is None


def test_training(trained):
    name, step = trained
    grads, (parts, moved) = step(0)
    assert parts.keys() == PARTS[name]
    for key, values in parts.items():
        assert values.shape == (2,) and np.isfinite(values).all(), key
        # The second image has no object: there is no box to move and no mask.
        assert values[0] > 0 and (values[1] > 0) == (key.endswith("class") and name != "ssd_test")
    for path, leaf in jax.tree.leaves_with_path(grads):
        assert np.isfinite(leaf).all(), path
        assert np.any(leaf != 0), path
    statistics = {"batch_stats": case(name)[1]["batch_stats"]}
    assert jax.tree.structure(moved) == jax.tree.structure(statistics)
    for leaf, before in zip(jax.tree.leaves(moved), jax.tree.leaves(statistics), strict=True):
        assert np.any(leaf != before)


@pytest.mark.parametrize("name", ROWS)
def test_evaluation_and_half_precision(name):
    """The same parts, nothing drawn, losses and scores of float32."""
    model, variables, images, objects = case(name)

    def both(variables):
        evaluated = model.apply(variables, images, objects, train=False, method="losses")
        rough, _ = apply_losses(name, variables["params"], images, objects, dtype="bfloat16")
        return evaluated, rough

    for parts in jax.eval_shape(both, variables):
        assert parts.keys() == PARTS[name]
        assert {(part.shape, part.dtype.name) for part in parts.values()} == {((2,), "float32")}


def test_what_is_drawn_follows_from_the_key(trained):
    name, step = trained
    once, again, other = (step(seed)[1][0] for seed in (1, 1, 2))
    assert jax.tree.all(jax.tree.map(np.array_equal, once, again))
    draws = name == "maskrcnn_test"
    assert draws != jax.tree.all(jax.tree.map(np.array_equal, once, other))


def test_frozen_norms_stay():
    _, variables, images, objects = case("retinanet_test")

    def loss_fn(params):
        parts, moved = apply_losses("retinanet_test", params, images, objects, frozen_norm=True)
        return jnp.sum(parts["class"]), moved

    grads, moved = jax.jit(jax.grad(loss_fn, has_aux=True))(variables["params"])
    before = variables["batch_stats"]
    assert jax.tree.all(jax.tree.map(np.array_equal, moved["batch_stats"], before))
    assert not np.any(grads["backbone"]["stem_norm"]["scale"])
    assert np.any(grads["backbone"]["stem_conv"]["kernel"])


def test_overrides_go_where_they_belong():
    model = models.detector(
        "retinanet_test", num_classes=3, backbone="mobilenet_test", width=4, width_multiplier=2.0
    )
    assert (model.width, model.backbone.width_multiplier) == (4, 2.0)
    synced = models.detector("fasterrcnn_test", axis_name="devices", dtype="bfloat16")
    assert synced.backbone.sync.axis_name == "devices"
    assert jnp.dtype(synced.backbone.dtype) == jnp.dtype(synced.dtype) == jnp.bfloat16


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("retinanet_resnet5", {}, "unknown detector 'retinanet_resnet5'; did you mean 'retina"),
        ("retinanet_test", {"num_classes": 0}, "num_classes is 0"),
        ("ssd_test", {"drop_rate": 0.1}, "unknown field of ssd_test 'drop_rate'"),
        ("retinanet_test", {"levels": (1, 3)}, "levels has 3, but .* strides 1, 2"),
        ("fasterrcnn_test", {"anchor_sizes": (8,)}, "anchor_sizes has 1 entries for 3 maps"),
        ("ssd_test", {"scales": (0.1, 0.2)}, "scales must have one entry more than ratios"),
        ("ssd_test", {"levels": (1, 9)}, r"levels is \(1, 9\)"),
        ("ssd_test", {"backbone": "lenet_test", "frozen_norm": True}, "has no batch norm"),
    ],
)
def test_mistakes_are_one_clear_line(name, fields, message):
    with pytest.raises(UserError, match=message):
        shapes(models.detector(name, **fields), (32, 32))


def test_masks_need_masks():
    model, variables, images, objects = case("maskrcnn_test")
    with pytest.raises(UserError, match="this network learns masks, but the data have boxes only"):
        jax.eval_shape(
            lambda: model.apply(
                variables, images, objects._replace(masks=None), train=False, method="losses"
            )
        )
