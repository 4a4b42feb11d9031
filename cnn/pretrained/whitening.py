"""A first kernel that whitens patches, set from training images before the first step."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from cnn import models
from cnn.core import TrainState
from cnn.errors import UserError
from cnn.pretrained import network
from cnn.pretrained.facts import Facts
from cnn.pretrained.initialise import Initial, Report
from cnn.pretrained.layout import paths_of

Images = Float32[np.ndarray, "count height width channels"]


def whiten(
    initial: Initial | None,
    state: TrainState,
    run: Facts,
    images_of: Callable[[int], Images],
    *,
    num_images: int = 0,
) -> Initial | None:
    """What a training starts from, with the first kernel from its own images.

    Args:
        initial: What it starts from without.
        state: Of the run before the first step; only shapes are read.
        run: Of the run: its network.
        images_of: (number) -> so many training images, spread over all of them.
        num_images: How many images the kernel is made from, for networks that do not train it:
            5,000 for airbench94. 0 is off.

    Raises:
        UserError: If the number is negative, the network trains its first kernel, or weights bring
            one.
    """
    if num_images < 0:
        raise UserError(f"whitening.num_images must be at least 0, got {num_images}")
    if not num_images:
        return initial
    if initial is not None:
        raise UserError(
            f"init.weights={initial.report.weights!r} brings a first kernel, which "
            f"whitening.num_images={num_images} would make anew; set one of the two to nothing"
        )
    images = jnp.asarray(images_of(num_images), jnp.float32)
    kernel = models.whitening_kernel(images, name=run.model, **run.fields)
    name = "/".join(network.STEM)
    others = paths_of({"params": state.params, **state.model_state}).keys() - {network.STEM}
    report = Report(
        weights=f"{num_images:,} training images",
        loaded=(),
        adapted={name: "whitens their patches"},
        missing={"/".join(path): "drawn" for path in sorted(others)},
        skipped={},
        notes=(),
    )
    return Initial({network.STEM: np.asarray(kernel)}, report)
