"""What holds for every registered segmenter, and for the smallest of each head."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import heads, models
from cnn.errors import UserError

COUNTS = {
    "fcn_resnet50": (35_322_218, 54_656),
    "fcn_resnet101": (54_314_346, 106_880),
    "deeplabv3_resnet50": (42_004_074, 57_216),
    "deeplabv3_resnet101": (60_996_202, 109_440),
    "lraspp_mobilenet_v3_large": (3_221_538, 24_656),
    "upernet_convnext_tiny": (60_242_636, 12_800),
    "upernet_convnext_small": (81_877_196, 12_800),
    "upernet_convnext_base": (122_102_956, 12_800),
    "unet": (31_030_658, 0),
    "unet_padded": (31_030_658, 0),
    "unet_small": (482_466, 1_408),
    "unet_resnet34": (24_399_477, 19_072),
}
"""(trained parameters, running statistics): torchvision 0.28.0; UPerNet's and U-Net's by hand."""
ROWS = [name for name in models.segmenters() if name.endswith("_test")]


def shapes(model, size, channels=3):
    x = jax.ShapeDtypeStruct((2, *size, channels), jnp.float32)
    return jax.eval_shape(
        lambda key, x: model.init_with_output({"params": key}, x), jax.random.key(0), x
    )


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", COUNTS)
def test_parameters(name):
    source = models.source(name)
    model = models.segmenter(name, num_classes=source.num_classes)
    size = (source.image_size, source.image_size)
    logits, variables = shapes(model, size, source.channels)
    assert (count(variables["params"]), count(variables.get("batch_stats", {}))) == COUNTS[name]
    outside = 184 if name == "unet" else 0
    assert logits.shape == (2, size[0] - outside, size[1] - outside, source.num_classes)
    assert variables["params"]["head"]["logits"]["kernel"].shape[-1] == source.num_classes


def test_the_tables_are_complete():
    assert {*COUNTS, *ROWS} == set(models.segmenters())
    files = {path.stem for path in pathlib.Path(heads.__file__).parent.glob("[a-z]*.py")}
    assert {heads.family_of(name) for name in ROWS} == files
    for name in models.segmenters():
        assert name in heads.family(name).VARIANTS


@pytest.mark.parametrize("name", ROWS)
def test_any_size_and_any_number_of_channels(name):
    logits, variables = shapes(models.segmenter(name, num_classes=3), (37, 50), 5)
    assert logits.shape == (2, 37, 50, 3)
    assert variables["params"]["backbone"]["stem_conv"]["kernel"].shape[2] == 5


def draw(tree):
    """Variables without the zeros and ones of an initialisation."""
    rng = np.random.default_rng(1)

    def values(leaf):
        drawn = rng.standard_normal(leaf.shape).astype(leaf.dtype)
        if len(leaf.shape) == 1:
            return jnp.asarray(np.abs(0.5 + 0.3 * drawn))
        return jnp.asarray(drawn / np.sqrt(max(leaf.size // leaf.shape[-1], 1)).astype(leaf.dtype))

    return jax.tree.map(values, tree)


@pytest.mark.parametrize("name", ROWS)
def test_training_and_evaluation(name):
    model = models.segmenter(name, num_classes=3)
    variables = draw(shapes(model, (16, 16))[1])
    images = jnp.asarray(np.random.default_rng(0).standard_normal((3, 16, 16, 3)), jnp.float32)
    others = images.at[1:].set(3.0)

    def loss_fn(params):
        logits, moved = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            mutable=["batch_stats", "auxiliary"],
            rngs={"dropout": jax.random.key(0)},
        )
        logits = [logits, *jax.tree.leaves(moved.pop("auxiliary", {}))]
        loss = sum(jnp.sum(jax.nn.log_softmax(one)[..., 0]) for one in logits)
        return loss, (logits, moved)

    @jax.jit
    def run(params):
        grads, (train_logits, moved) = jax.grad(loss_fn, has_aux=True)(params)
        evaluated = (model.apply(variables, x) for x in (images, others))
        half = models.segmenter(name, num_classes=3, dtype="bfloat16").apply(variables, images)
        return grads, train_logits, moved, *evaluated, half

    grads, train_logits, moved, logits, changed, half = run(variables["params"])
    for path, leaf in jax.tree.leaves_with_path(grads):
        assert np.isfinite(leaf).all() and np.any(leaf != 0), path
    has_auxiliary = "auxiliary" in variables["params"]
    assert has_auxiliary == (len(train_logits) == 2)
    assert {one.shape for one in train_logits} == {(3, 16, 16, 3)}
    assert jax.tree.structure(moved) == jax.tree.structure(
        {"batch_stats": variables["batch_stats"]}
    )
    np.testing.assert_allclose(logits[0], changed[0], rtol=1e-4, atol=1e-5)
    assert not np.allclose(logits[1], changed[1])
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, logits, atol=0.05 * np.abs(logits).max())


def test_a_classifiers_backbone_is_the_segmenters():
    segmenter = shapes(models.segmenter("fcn_test", output_stride=2), (16, 16))[1]
    classifier = shapes(models.classifier("resnet_test"), (16, 16))[1]
    for collection in ("params", "batch_stats"):
        left, right = segmenter[collection]["backbone"], classifier[collection]["backbone"]
        assert jax.tree.map(jnp.shape, left) == jax.tree.map(jnp.shape, right)


def test_overrides_go_where_they_belong():
    model = models.segmenter(
        "fcn_test",
        num_classes=7,
        backbone="mobilenet_test",
        dropout_rate=0.5,
        width_multiplier=2.0,
        output_stride=4,
        auxiliary_width=None,
    )
    assert (model.head.num_classes, model.head.dropout_rate) == (7, 0.5)
    assert (model.backbone.width_multiplier, model.auxiliary) == (2.0, None)
    synced = models.segmenter("deeplabv3_test", axis_name="devices", dtype="bfloat16")
    parts = (synced.backbone, synced.head, synced.auxiliary)
    assert {part.sync.axis_name for part in parts} == {"devices"}
    assert {jnp.dtype(part.dtype).name for part in parts} == {"bfloat16"}


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("fcn_resnet5", {}, "unknown segmenter 'fcn_resnet5'; did you mean 'fcn_resnet50'"),
        ("fcn_test", {"num_classes": 0}, "num_classes is 0"),
        ("fcn_test", {"drop_rate": 0.1}, "unknown field of fcn_test 'drop_rate'"),
        ("fcn_test", {"backbone": "resnet5"}, "unknown model 'resnet5'"),
    ],
)
def test_mistakes_are_one_clear_line(name, fields, message):
    with pytest.raises(UserError, match=message):
        models.segmenter(name, **fields)
