"""A data set that lies on the devices: batches are gathered, changed and normalised in the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int, PRNGKeyArray, Shaped, UInt8

from cnn import data
from cnn.core import Batch, Key
from cnn.errors import UserError

_AUGMENT_STREAM = 2
"""Folded into the key of the seed; 0 and 1 are those of the initial state and of the steps."""

Images = UInt8[Array, "batch height width channels"]
Keys = Shaped[PRNGKeyArray, " batch"]
Block = dict[str, Any]
"""`index`, `position` (in the epoch) and `epoch` of examples, int32 [batch, steps]; -1 behind the
last step. And `flip`, 0 or 1, where flips are no affair of chance."""


class Resident(NamedTuple):
    """How a training reads a data set from the devices.

    Attributes:
        steps_per_dispatch: The most steps in one call of the devices.
        alternate_flips: Whether examples are flipped in every other epoch.
        max_bytes: Of the images; a larger data set is refused.
        augment: (images in [0, 255], keys, flips or None) -> what the model sees.
    """

    steps_per_dispatch: int
    alternate_flips: bool
    max_bytes: int
    augment: Callable[..., Float32[Array, "batch height width channels"]]

    def num_steps(self, block: Block) -> Int[Array, ""]:
        """How many steps a block is for."""
        return jnp.sum(block["epoch"][0] >= 0)

    def batch(self, block: Block, index: Any, examples: Mapping[str, Array], key: Key) -> Batch:
        """The batch of a step; all within the step, from arrays that every device has whole.

        Args:
            block: Where the examples of several steps are.
            index: Which of the steps.
            examples: `image` and `label` of all.
            key: Of the augmentation of the run.
        """
        places = {
            name: jax.lax.dynamic_index_in_dim(x, index, axis=1, keepdims=False)
            for name, x in block.items()
        }
        image, label = (
            jnp.take(examples[name], places["index"], axis=0, mode="clip")
            for name in ("image", "label")
        )
        # A function of the place in the run alone: neither devices nor steps in a call change it.
        keys = jax.vmap(lambda e, p: jax.random.fold_in(jax.random.fold_in(key, e), p))(
            places["epoch"], places["position"]
        )
        return {
            "image": self.augment(image, keys, places.get("flip")),
            "label": label,
        }


def make_resident(
    preprocess: data.Preprocess,
    augment: Mapping[str, Any],
    normalisation: tuple[Sequence[float], Sequence[float]],
    *,
    alternate_flips: bool,
    enabled: bool,
    steps_per_dispatch: int = 1,
    reflect: bool = False,
    max_mb: int = 1024,
) -> Resident | None:
    """Settings of the loader that keeps the data set on the devices; None where it is off.

    The order of examples is that of `cnn.data.train_batches`. Of the augmentations it knows random
    and alternating flips and pad-and-crop; where they are drawn, the numbers are others than there.

    Args:
        preprocess: Brings each image to its size, once; with the random changes of training.
        augment: The section of that name; `flip_rate` and `pad_px` count, the others must be off.
        normalisation: Mean and standard deviation of the channels, as `make_preprocess` takes them.
        alternate_flips: Of the section `by_epoch`.
        enabled: Whether images are kept on the devices, each of which has them all, as uint8: for
            sets such as MNIST and CIFAR-10.
        steps_per_dispatch: So many steps run in one call of the devices, fewer where a log line, an
            evaluation or a checkpoint is due; results are the same. Worth it where steps take a few
            milliseconds. 1 on a CPU, where XLA runs convolutions in a loop without threads.
        reflect: Whether pad-and-crop mirrors the image at its border, as airbench does; else black.
        max_mb: The most megabytes of images; a larger set is refused.

    Raises:
        UserError: If something else is to be done to images, or a value is out of its range.
    """
    if not enabled:
        return None
    if steps_per_dispatch < 1 or max_mb < 1:
        raise UserError(
            "resident.steps_per_dispatch and resident.max_mb must be at least 1, got "
            f"{steps_per_dispatch} and {max_mb}"
        )
    _refuse_what_is_not_known(preprocess, augment)
    flip_rate, pad_px = augment["flip_rate"], augment["pad_px"]
    if reflect and pad_px >= preprocess.image_size:
        raise UserError(
            f"resident.reflect mirrors fewer pixels than the image has ({preprocess.image_size}), "
            f"got augment.pad_px={pad_px}"
        )
    mean, std = (np.asarray(values, np.float64) for values in normalisation)
    scale, offset = (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)

    def change(
        images: Images, keys: Keys, flips: Shaped[Array, " batch"] | None
    ) -> Float32[Array, "batch height width channels"]:
        chances, places = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        if flip_rate:
            flips = jax.vmap(jax.random.uniform)(chances) < flip_rate
        if flips is not None:
            images = jnp.where(flips[:, None, None, None] > 0, images[:, :, ::-1], images)
        if pad_px:
            images = pad_and_crop(images, places, pad_px, reflect=reflect)
        return images * scale.reshape(1, 1, 1, -1) + offset.reshape(1, 1, 1, -1)

    return Resident(steps_per_dispatch, alternate_flips, max_mb * 10**6, change)


def _refuse_what_is_not_known(preprocess: data.Preprocess, augment: Mapping[str, Any]) -> None:
    known = ("flip_rate", "pad_px", "crop_ratio_max")
    others = [f"augment.{k}={v:g}" for k, v in augment.items() if k not in known and v]
    if preprocess.change is not None:
        others.append("the section policy or filters")
    if others:
        raise UserError(
            f"images on the devices (resident.enabled) can be flipped and padded and cropped, but "
            f"not changed by {', '.join(others)}; turn that off, or set resident.enabled=False"
        )


def pad_and_crop(
    images: Images, keys: Keys, pad_px: int, *, reflect: bool
) -> UInt8[Array, "batch height width channels"]:
    """Each image moved by up to `pad_px` whole pixels each way.

    Args:
        images: The images.
        keys: One for each.
        pad_px: The most that it moves.
        reflect: Whether what was outside is the mirror image; else it is black.
    """
    pads = ((0, 0), (pad_px, pad_px), (pad_px, pad_px), (0, 0))
    padded = jnp.pad(images, pads, mode="reflect" if reflect else "constant")
    starts = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, 2 * pad_px + 1))(keys)

    def crop(image: Any, start: Any) -> Any:
        return jax.lax.dynamic_slice(image, (start[0], start[1], 0), images.shape[1:])

    return jax.vmap(crop)(padded, starts)


def augment_key(seed: int) -> Key:
    """The key of the augmentation of a run."""
    return jax.random.fold_in(jax.random.key(seed), _AUGMENT_STREAM)


def load(
    source: data.Source, preprocess: data.Preprocess, max_bytes: int, num_threads: int
) -> dict[str, np.ndarray]:
    """`image`, uint8, brought to the size of the model, and `label` of all examples.

    Raises:
        UserError: If they are more than `max_bytes`, or an example cannot be read.
    """
    shape = (len(source), preprocess.image_size, preprocess.image_size, preprocess.channels)
    needed = int(np.prod(shape))
    if needed > max_bytes:
        raise UserError(
            f"{source.info.name} takes {needed / 1e6:,.0f} MB on each device, more than "
            f"resident.max_mb={max_bytes / 1e6:,.0f}; raise that if the devices have the memory, "
            "or set resident.enabled=False"
        )
    image = np.empty(shape, np.uint8)

    def read(index: int) -> Any:
        example = source[index]
        image[index] = preprocess.fit(example["image"])
        return example["label"]

    with ThreadPoolExecutor(max(1, num_threads)) as pool:
        labels = list(pool.map(read, range(len(source))))
    kind = np.int32 if source.info.target == "class" else np.float32
    return {"image": image, "label": np.asarray(labels, kind)}
