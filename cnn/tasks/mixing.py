"""MixUp and CutMix: examples of a batch are blended, and so are their targets, on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cnn.core import Key
from cnn.errors import UserError, unknown

_STREAM = 0x6D6978
"""Folded into the key of a step, so that what is drawn here is not what dropout draws."""

Images = Float[Array, "batch height width channels"]
Targets = Float[Array, "batch classes"]
Shares = Float[Array, " batch"]
Mix = Callable[[Key, Images, Shares], tuple[Images, Shares | None]]
DEFAULTS = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "per_example": False}


def make_mix(options: Mapping[str, Any] | None) -> Mix:
    """What a training batch becomes before the model sees it.

    The partner of example i is the one as far from the end of the batch (timm's rule). Where both
    kinds are on, each is drawn half of the time. Under `pmap` the partners are on one device.

    Args:
        options: Any of these; None mixes nothing. `mixup_alpha`: of the Beta distribution of the
            share that an example keeps (Zhang et al. 2018, "mixup"; 0.2 for ResNet-50, 0.8 for ViT
            and ConvNeXt); 0 is off. `cutmix_alpha`: of that of the area that it keeps (Yun et al.
            2019, "CutMix"; 1.0); 0 is off. `per_example`: kind, share and box are drawn for each
            example, not once for the batch.

    Returns:
        (key, images, weight) -> the images, and the share that each keeps, for `mix_targets` (None
        where nothing is mixed). A partner of weight 0, which is padding, is not mixed in.

    Raises:
        UserError: If an option is unknown, or an alpha is negative.
    """
    values = {**DEFAULTS, **(options or {})}
    for name in values:
        if name not in DEFAULTS:
            raise unknown("key of task.mixing", name, DEFAULTS)
        if not values[name] >= 0:
            raise UserError(f"task.mixing.{name} must be at least 0, got {values[name]}")
    mixup_alpha, cutmix_alpha, per_example = values.values()
    if not mixup_alpha and not cutmix_alpha:
        return lambda key, images, weight: (images, None)

    def mix(key: Key, images: Images, weight: Shares) -> tuple[Images, Shares]:
        kind_key, mix_key, cut_key, box_key = jax.random.split(jax.random.fold_in(key, _STREAM), 4)
        draws = (images.shape[0],) if per_example else (1,)
        rate = 0.5 if mixup_alpha and cutmix_alpha else float(cutmix_alpha > 0)
        cuts = jax.random.bernoulli(kind_key, rate, draws)
        # An alpha of 0 is never drawn, but Beta needs a number above it.
        blend = jax.random.beta(mix_key, mixup_alpha or 1.0, mixup_alpha or 1.0, draws)
        area = jax.random.beta(cut_key, cutmix_alpha or 1.0, cutmix_alpha or 1.0, draws)
        inside = boxes(box_key, area, images.shape[1], images.shape[2])
        kept = jnp.where(cuts, 1 - jnp.mean(inside, axis=(1, 2)), blend)
        alone = weight[::-1] == 0
        kept = jnp.where(alone, 1.0, jnp.broadcast_to(kept, alone.shape))
        pixels = jnp.where(cuts[:, None, None], jnp.where(inside, 0.0, 1.0), kept[:, None, None])
        pixels = jnp.where(alone[:, None, None], 1.0, pixels)[..., None]
        return images * pixels + images[::-1] * (1 - pixels), kept

    return mix


def mix_targets(targets: Targets, kept: Shares | None) -> Targets:
    """The targets of mixed images: of each its own and its partner's, by the share it keeps."""
    if kept is None:
        return targets
    return targets * kept[:, None] + targets[::-1] * (1 - kept[:, None])


def boxes(
    key: Key, kept: Float[Array, " draws"], height: int, width: int
) -> Bool[Array, "draws {height} {width}"]:
    """Where the pixels of the partner go: a box of 1 - `kept` of the area about a random pixel.

    It has the image's aspect ratio, and the border cuts it (CutMix, algorithm A1).
    """
    y_key, x_key = jax.random.split(key)
    side = jnp.sqrt(1 - kept)

    def span(key: Key, size: int) -> Bool[Array, "draws {size}"]:
        middle = jax.random.randint(key, kept.shape, 0, size)
        half = (size * side).astype(jnp.int32) // 2
        places = jnp.arange(size)
        low, high = (middle - half)[:, None], (middle + half)[:, None]
        return (low <= places[None, :]) & (places[None, :] < high)

    return span(y_key, height)[:, :, None] & span(x_key, width)[:, None, :]
