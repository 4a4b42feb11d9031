"""Logits, gradients and batch statistics equal those of torchvision and timm: see README.md."""

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import models, pretrained
from tests.golden.draws import draw_all, images
from tests.models.rows import still

FILES = sorted(pathlib.Path(__file__).parent.glob("*.npz"))
IN_DOUBLE = ("inception_v3_299",)
"""Files whose gradients are held in double precision, to 1e-6, instead of 95 of 100 in single.

That share is rounding here: 299 pixels, 94 norms over 4 images. torchvision itself in float32 gets
5.3e-3, and 7.8e-3 with channels last; lax's convolutions 5.4e-3, ours 5.3e-3 to 5.6e-3.
"""
OUR_NAMES = {
    "mobilenetv1_100": "mobilenet_v1",
    "vit_small_patch16_224": "vit_s_16",
    "vit_tiny_patch16_224": "vit_ti_16",
}


def compute(name: str, variables: dict[str, Any], size: int, dtype: type) -> tuple[Any, ...]:
    """Logits; and loss, logits, model state and gradients of a training step."""
    model = models.classifier(name, dtype=dtype, **still(name))
    labels = jnp.array([3, 7, 11, 0])

    def run(params: Any, state: Any, few: Any, more: Any) -> tuple[Any, ...]:
        def loss_fn(params: Any) -> tuple[Any, Any]:
            logits, new_state = model.apply(
                {"params": params, **state}, more, train=True, mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return jnp.mean(losses), (logits, new_state)

        logits = model.apply({"params": params, **state}, few, train=False)
        return logits, *jax.value_and_grad(loss_fn, has_aux=True)(params)

    state = {key: value for key, value in variables.items() if key != "params"}
    few, more = (images(batch, size).astype(dtype) for batch in (2, 4))
    return jax.device_get(jax.jit(run)(variables["params"], state, few, more))


def norms(tensors: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    return np.array([np.linalg.norm(tensors[name].astype(np.float64).ravel()) for name in names])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden(path):
    most = 2e-2 if path.stem in IN_DOUBLE else 5e-3
    check(path, np.float32, logits=1e-5, train=1e-4, gradient=2e-2, most=most, running=1e-5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", IN_DOUBLE)
def test_golden_in_double_precision(name):
    path = pathlib.Path(__file__).with_name(f"{name}.npz")
    with jax.enable_x64(True):
        check(path, np.float64, logits=1e-6, train=1e-6, gradient=1e-6, most=1e-6, running=1e-6)


def check(
    path: pathlib.Path,
    dtype: type,
    *,
    logits: float,
    train: float,
    gradient: float,
    most: float,
    running: float,
) -> None:
    golden = np.load(path)
    meta = json.loads(golden["meta"].tobytes())
    name = OUR_NAMES.get(meta["model"], meta["model"])
    variables = pretrained.from_torch(name, draw_all(meta["state"], dtype))
    ours, (loss, (train_ours, state)), grads = compute(name, variables, meta["size"], dtype)

    assert distance(ours, golden["logits"]) < logits
    assert distance(train_ours, golden["train_logits"]) < train
    np.testing.assert_allclose(loss, meta["train_loss"], rtol=train)

    converted = pretrained.to_torch(name, {"params": grads, **state})
    expected = np.array(list(meta["grad_norms"].values()))
    scale = np.maximum(expected, 1e-3 * np.linalg.norm(expected))
    errors = np.abs(norms(converted, list(meta["grad_norms"])) - expected) / scale
    worst = list(meta["grad_norms"])[int(errors.argmax())]
    assert errors.max() < gradient, worst
    assert np.quantile(errors, 0.95) < most

    expected = np.array(list(meta["running_stat_norms"].values()))
    np.testing.assert_allclose(
        norms(converted, list(meta["running_stat_norms"])), expected, rtol=running
    )
    assert converted.keys() == meta["state"].keys()


def distance(ours: np.ndarray, golden: np.ndarray) -> float:
    return float(np.abs(ours - golden).max() / np.abs(golden).max())


def test_every_file_is_of_a_known_network():
    assert len(FILES) == 20
