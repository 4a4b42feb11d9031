"""What of the augmentation depends on the epoch: the size of the images, and alternating flips."""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn.data.augment import Augment, alternating_flip
from cnn.data.contract import Source
from cnn.data.resize import Pixels
from cnn.data.transforms import ModelInput
from cnn.errors import UserError

Seen = Callable[[Source, int, np.random.Generator], dict[str, Any]]
"""(source, index, generator) -> what the model sees of the example."""


class ByEpoch(NamedTuple):
    """An augmentation for each epoch.

    Attributes:
        augments: For images of one size each.
        from_epochs: From which epoch on each is used, rising, the first from 0.
        alternate_flips: Whether examples are flipped in every other epoch.
    """

    augments: tuple[Augment, ...]
    from_epochs: tuple[int, ...]
    alternate_flips: bool

    @property
    def sizes_px(self) -> tuple[int, ...]:
        """The sides of the images, in the order of the epochs."""
        return tuple(augment.preprocess.image_size for augment in self.augments)

    def at(self, seed: int, epoch: int, num_examples: int) -> Seen:
        """What the model sees of the examples of an epoch."""
        augment = self.augments[bisect.bisect_right(self.from_epochs, epoch) - 1]
        mosaic = augment.mosaic if augment.mosaic and augment.mosaic.at(epoch) else None
        flips = alternating_flip(seed, epoch, num_examples) if self.alternate_flips else None

        def seen(source: Source, index: int, rng: np.random.Generator) -> dict[str, Any]:
            example = source[index] if mosaic is None else mosaic(source, index, rng)
            return augment.example(example, rng, flipped=flips is not None and bool(flips[index]))

        return seen


def make_by_epoch(
    augment: Augment,
    *,
    alternate_flips: bool = False,
    sizes_px: Sequence[int] = (),
    from_epochs: Sequence[int] = (),
) -> ByEpoch:
    """The augmentation of each epoch, counted from 0.

    Args:
        augment: That of images of the evaluation's size.
        alternate_flips: A random half of the examples is flipped left to right in epoch 0, the
            others in the next, and so on: see `cnn.data.augment.alternating_flip`. Then
            `augment.flip_rate` must be 0.
        sizes_px: Sides of the training images, for instance (128, 160, 192), small first so that
            most of the training is cheap: progressive resizing. Evaluation keeps
            `preprocess.image_size`, which may well be larger than the last of these (Touvron et al.
            2019, "Fixing the train-test resolution discrepancy"). The step is compiled once for
            each. () trains at `preprocess.image_size`.
        from_epochs: The epoch from which on each size is used, rising, the first 0, for instance
            (0, 6, 12). A run resumes in the middle of any of them, since the size depends on the
            step alone.

    Raises:
        UserError: If the two do not fit each other, or flips are random besides.
    """
    if alternate_flips and augment.flip_rate:
        raise UserError(
            f"by_epoch.alternate_flips and augment.flip_rate={augment.flip_rate:g} would undo each "
            "other; set augment.flip_rate=0"
        )
    if not sizes_px and not from_epochs:
        return ByEpoch((augment,), (0,), alternate_flips)
    rising = all(a < b for a, b in itertools.pairwise(from_epochs))
    if len(sizes_px) != len(from_epochs) or from_epochs[0] != 0 or not rising:
        raise UserError(
            "by_epoch.from_epochs names the first epoch of each of by_epoch.sizes_px, rising from "
            f"0, as (128, 160, 192) and (0, 6, 12); got {tuple(sizes_px)} and {tuple(from_epochs)}"
        )
    augments = tuple(augment.at_size(size) for size in sizes_px)
    return ByEpoch(augments, tuple(from_epochs), alternate_flips)


def augment_of(
    augment: ByEpoch | Callable[[Pixels, np.random.Generator], ModelInput],
    seed: int,
    num_examples: int,
) -> Callable[[int], Seen]:
    """Epoch -> what the model sees of its examples; those of the last two epochs are kept."""
    if not isinstance(augment, ByEpoch):
        plain = augment

        def seen(source: Source, index: int, rng: np.random.Generator) -> dict[str, Any]:
            example = source[index]
            return {**example, "image": plain(example["image"], rng)}

        return lambda epoch: seen
    # Two epochs are under way at once while threads cross the border.
    return functools.lru_cache(maxsize=2)(lambda epoch: augment.at(seed, epoch, num_examples))
