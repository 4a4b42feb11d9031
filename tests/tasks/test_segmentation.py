"""The task of a class for each pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import data, models
from cnn.errors import UserError
from cnn.tasks import segmentation
from tests.tasks import small
from tests.tasks.scenes import open_scenes

SCENES = open_scenes(size_px=32, num_train=8, max_digits=2)
CLASSES = len(SCENES.train.info.class_names)


def batch_of(count=8):
    examples = [SCENES.train[index] for index in range(count)]
    image = np.stack([example["image"] for example in examples]).astype(np.float32) / 255
    mask = np.stack([example["mask"] for example in examples])
    weight = np.ones(count, np.float32)
    return {"image": jnp.asarray(image), "mask": jnp.asarray(mask), "weight": jnp.asarray(weight)}


def unet(**fields):
    sizes = {"widths": (8, 16, 32), "padding": "same", "norm": "batch", "dropout_rate": 0.0}
    return models.segmenter("unet", num_classes=CLASSES, **{**sizes, **fields})


def task_of(model=None, tx=None, **options):
    return segmentation.make(model or unet(), tx or optax.adam(1e-2), **options)


def test_eight_images_are_learnt():
    batch = batch_of()
    task = task_of(losses={"cross_entropy": 1.0, "dice": 1.0})
    state, step = small.init(task, batch), jax.jit(task.step)
    for _ in range(120):
        state, metrics = step(state, batch, small.KEY)
    assert small.values(metrics)["pixel_accuracy"] > 0.98
    assert small.values(small.evaluate(task, state, batch))["miou"] > 0.95
    predicted = small.predict(task, state, batch)
    right = np.asarray(predicted["classes"]) == np.asarray(batch["mask"])
    assert right.mean() > 0.98
    np.testing.assert_array_equal(
        np.argmax(predicted["probabilities"], axis=-1), predicted["classes"]
    )


@pytest.fixture(scope="module")
def still():
    """A task that changes nothing and keeps its gradient, with a state."""
    tiny = {"backbone": "resnet_test", "output_stride": 2}
    model = models.segmenter("fcn_test", num_classes=CLASSES, dropout_rate=0.0, **tiny)
    task = task_of(model, small.recorder())
    return task, small.init(task, batch_of())


def test_every_pixel_counts_once_whatever_the_batch(still):
    task, state = still
    batch = batch_of()
    whole = small.evaluate(task, state, batch)
    assert whole["confusion"].counts.sum() == batch["mask"].size
    padded = {
        "image": jnp.full((4, 32, 32, 1), jnp.nan).at[1:].set(batch["image"][:3]),
        "mask": jnp.zeros((4, 32, 32), jnp.uint8).at[1:].set(batch["mask"][:3]),
        "weight": jnp.asarray([0.0, 1.0, 1.0, 1.0]),
    }
    rest = {name: jnp.concatenate([x[3:], x[:3]]) for name, x in batch.items()}
    rest["weight"] = rest["weight"].at[5:].set(0.0)
    rest["mask"] = rest["mask"].at[5:].set(data.IGNORED)
    parts = [small.evaluate(task, state, part) for part in (padded, rest)]
    counts = sum(np.asarray(part["confusion"].counts) for part in parts)
    np.testing.assert_array_equal(counts, whole["confusion"].counts)
    loss = [sum(getattr(part["loss"], field) for part in parts) for field in ("total", "weight")]
    np.testing.assert_allclose(loss[0] / loss[1], small.values(whole)["loss"], rtol=1e-5)


def test_ignored_pixels_change_nothing(still):
    task, state = still
    batch = batch_of()
    mask = batch["mask"].at[:, ::2].set(data.IGNORED)
    one = small.evaluate(task, state, {**batch, "mask": mask})
    assert one["confusion"].counts.sum() == batch["mask"].size // 2


def test_parts_of_a_batch_give_the_gradient_of_the_whole():
    """Also where they have unequal shares of known pixels."""
    batch = {key: x[:4] for key, x in batch_of().items() if key != "weight"}
    batch["mask"] = batch["mask"].at[0, 4:].set(data.IGNORED)
    batch["pixel_weight"] = 1.0 + batch["image"][..., 0]
    model = unet(norm="none", widths=(4, 8))
    gradients = []
    for parts in (1, 2):
        task = task_of(model, small.recorder(), accumulate_steps=parts)
        state, _ = small.step(task, small.init(task, batch), batch)
        gradients.append(state.opt_state[0])
    small.assert_same(*gradients, rtol=1e-3, atol=1e-6)
    assert small.norm(gradients[0]) > 0


def test_an_auxiliary_head_counts_by_its_weight(still):
    _, state = still
    model = models.segmenter(
        "fcn_test",
        num_classes=CLASSES,
        dropout_rate=0.0,
        backbone="resnet_test",
        output_stride=2,
    )
    batch = {key: x for key, x in batch_of().items() if key != "weight"}
    norms = []
    for weight in (0.0, 0.5):
        task = task_of(model, small.recorder(), auxiliary_weight=weight)
        after, _ = small.step(task, state, batch)
        norms.append(small.norm(after.opt_state[0]["auxiliary"]))
    assert norms[0] == 0 < norms[1]


def test_a_network_without_padding_sees_the_edges_mirrored():
    model = models.segmenter("unet", num_classes=CLASSES, widths=(4, 6), dropout_rate=0.0)
    task = task_of(model)
    batch = batch_of(2)
    state = small.init(task, batch)
    found = small.predict(task, state, batch)
    assert found["classes"].shape == (2, 32, 32)
    variables = {"params": state.params}
    middle = jax.nn.softmax(model.apply(variables, batch["image"]))
    np.testing.assert_allclose(found["probabilities"][:, 8:24, 8:24], middle, rtol=1e-4, atol=1e-5)
    _, metrics = small.step(task, state, batch)
    assert metrics["pixel_accuracy"].weight == 2 * 16 * 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"losses": {"dise": 1.0}}, "unknown key of task.losses 'dise'; did you mean 'dice'"),
        ({"losses": {"dice": 0.0}}, "task.losses are all 0"),
        ({"losses": {"dice": -1.0}}, "task.losses.dice must be at least 0"),
        ({"focal_gamma": -1.0}, "task.focal_gamma must be at least 0"),
        ({"class_weights": (1.0, -1.0)}, "task.class_weights must be at least 0"),
    ],
)
def test_mistakes_are_one_clear_line(options, message):
    with pytest.raises(UserError, match=message):
        task_of(**options)


def test_weights_for_other_classes_are_one_clear_line():
    task = task_of(class_weights=(1.0, 2.0))
    batch = batch_of(2)
    state = jax.eval_shape(task.init, small.KEY, batch)
    with pytest.raises(UserError, match=f"has 2 numbers for {CLASSES} classes"):
        jax.eval_shape(task.step, state, batch, small.KEY)
