"""Logits, losses, gradients and statistics equal those of torchvision's segmenters: README.md."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models, pretrained
from tests.golden.draws import draw_all, images, segmentation_labels
from tests.golden.test_golden import distance, norms

HERE = pathlib.Path(__file__).parent / "segmentation"
FILES = sorted(HERE.glob("*.npz"))
STILL = {"dropout_rate": 0.0}
IGNORED, EVERY, AUXILIARY_WEIGHT = 255, 8, 0.5


def thinned(logits):
    return np.asarray(logits)[:, ::EVERY, ::EVERY]


def pixel_loss(logits, labels):
    real = labels != IGNORED
    chosen = jnp.where(real, labels, 0)[..., None].astype(jnp.int32)
    losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), chosen, axis=-1)[..., 0]
    return jnp.sum(jnp.where(real, losses, 0.0)) / jnp.sum(real)


def compute_training(name, variables, size, dtype):
    """Of a training step: the logits of all heads, their losses, the statistics, the gradients."""
    fields = {} if name.startswith("lraspp") else STILL
    model = models.segmenter(name, num_classes=21, dtype=dtype, **fields)
    labels = jnp.asarray(segmentation_labels(4, size, 21))

    def run(params, state, more):
        def loss_fn(params):
            logits, moved = model.apply(
                {"params": params, **state}, more, train=True, mutable=["batch_stats", "auxiliary"]
            )
            every = [logits, *jax.tree.leaves(moved.pop("auxiliary", {}))]
            losses = [pixel_loss(one, labels) for one in every]
            return losses[0] + AUXILIARY_WEIGHT * sum(losses[1:]), (every, losses, moved)

        return jax.grad(loss_fn, has_aux=True)(params)

    state = {"batch_stats": variables["batch_stats"]}
    more = images(4, size).astype(dtype)
    grads, (every, losses, moved) = jax.device_get(jax.jit(run)(variables["params"], state, more))
    return every, losses, moved, grads


def opened(path, dtype=np.float32):
    golden = np.load(path)
    meta = json.loads(golden["meta"].tobytes())
    variables = pretrained.from_torch(meta["model"], draw_all(meta["state"], dtype))
    return golden, meta, variables


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_evaluation(path):
    golden, meta, variables = opened(path)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == meta["params"]
    model = models.segmenter(meta["model"], num_classes=21)
    few = images(2, meta["size"]).astype(np.float32)
    logits = jax.jit(lambda variables, x: model.apply(variables, x))(variables, few)
    assert distance(thinned(logits), golden["logits"]) < 1e-5


def test_training_of_lraspp():
    check_training(
        HERE / "lraspp_mobilenet_v3_large_65.npz",
        np.float32,
        train=1e-4,
        gradient=2e-2,
        most=5e-3,
        running=1e-5,
    )


def test_training_of_deeplab_v3_with_fcn_as_the_auxiliary_head():
    """In double precision: the norm of the image's mean is over four numbers here."""
    with jax.enable_x64(True):
        check_training(
            HERE / "deeplabv3_resnet50_65.npz",
            np.float64,
            train=1e-6,
            gradient=1e-6,
            most=1e-6,
            running=1e-6,
        )


def check_training(path, dtype, *, train, gradient, most, running):
    golden, meta, variables = opened(path, dtype)
    name = meta["model"]
    every, losses, state, grads = compute_training(name, variables, meta["size"], dtype)
    assert distance(thinned(every[0]), golden["train_logits"]) < train
    if "auxiliary_logits" in golden:
        assert distance(thinned(every[1]), golden["auxiliary_logits"]) < train
    np.testing.assert_allclose(losses, meta["losses"], rtol=train)

    converted = pretrained.to_torch(name, {"params": grads, **state})
    expected = np.array(list(meta["grad_norms"].values()))
    scale = np.maximum(expected, 1e-3 * np.linalg.norm(expected))
    errors = np.abs(norms(converted, list(meta["grad_norms"])) - expected) / scale
    assert errors.max() < gradient, list(meta["grad_norms"])[int(errors.argmax())]
    assert np.quantile(errors, 0.95) < most
    expected = np.array(list(meta["running_stat_norms"].values()))
    np.testing.assert_allclose(
        norms(converted, list(meta["running_stat_norms"])), expected, rtol=running
    )
    assert converted.keys() == meta["state"].keys()


def test_there_is_a_file_for_each_of_torchvisions_heads():
    assert {path.stem.split("_")[0] for path in FILES} == {"fcn", "deeplabv3", "lraspp"}
