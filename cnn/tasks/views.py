"""One answer from several views of an image, as test-time augmentation makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def over_views(
    logits_of: Callable[[Any], Any], images: Float[Array, "batch *views height width channels"]
) -> Float[Array, "batch classes"]:
    """Logits of images, or those whose softmax is the mean of that of several views.

    Views are computed one after another, so activations take the memory of one.
    """
    if images.ndim == 4:
        return logits_of(images)
    log_probabilities = jax.lax.map(
        lambda view: jax.nn.log_softmax(logits_of(view).astype(jnp.float32)),
        jnp.moveaxis(images, 1, 0),
    )
    return jax.nn.logsumexp(log_probabilities, axis=0) - jnp.log(images.shape[1])
