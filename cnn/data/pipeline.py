"""Batches as a pure function of (seed, step), read ahead of their use, the same on all hosts."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from cnn.data import transforms
from cnn.data.ahead import read_ahead
from cnn.data.by_epoch import ByEpoch, augment_of
from cnn.data.contract import IGNORED, NO_OBJECT, Example, Source
from cnn.data.faults import faults_of
from cnn.data.sampling import Drawn
from cnn.errors import UserError

Image = Float32[np.ndarray, "height width channels"]
Augment = Callable[[UInt8[np.ndarray, "height width channels"], np.random.Generator], Image]
Views = Float32[np.ndarray, "views height width channels"]
Preprocess = Callable[[UInt8[np.ndarray, "height width channels"]], Image | Views]
HostBatch = dict[str, np.ndarray]
"""`image` float32 [batch, height, width, channels] (of several views [batch, views, height, width,
channels]), `label` int32 [batch] (where the target is no class, float32 [batch, targets]), `weight`
float32 [batch]: 1 for an example, 0 for padding. Of examples with masks there is `mask` uint8
[batch, height, width] in place of `label`, `IGNORED` in padding, and `pixel_weight` float32 of the
same shape where borders are weighed. Of examples with objects there are in its place `boxes`
float32 [batch, max_boxes, 4] and `box_labels` int32 [batch, max_boxes], -1 in padding; where they
have proposals, `proposals` float32 [batch, max_proposals, 4], zeros in padding; and in evaluation
`seen_px` float32 [batch, 2]: see `cnn.data.boxes`."""


@dataclasses.dataclass(frozen=True)
class Host:
    """The `index`-th of `count` processes that share batches: it reads that contiguous slice."""

    index: int = 0
    count: int = 1

    def slice_of(self, batch_size: int) -> slice:
        """Its part of a batch over all hosts. Raises a UserError where they cannot share it."""
        if batch_size < 1 or batch_size % self.count:
            raise UserError(
                f"a batch of {batch_size} cannot be shared by {self.count} hosts; choose a "
                f"multiple of {self.count}, for instance "
                f"{max(1, batch_size // self.count) * self.count}"
            )
        size = batch_size // self.count
        return slice(self.index * size, (self.index + 1) * size)


_ALONE = Host()
_FILLS = {
    "mask": IGNORED,
    "pixel_weight": 0,
    "boxes": 0,
    "box_labels": NO_OBJECT,
    "proposals": 0,
    "seen_px": 1,
}
"""What is to be learnt besides a label, and what padding has of it."""
_AUGMENT_STREAM = 1 << 63
"""Set in the half of a Philox key that holds the epoch, it parts augmentation from order."""


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Steps in which an epoch sees each example once, but for a remainder that fills no batch.

    Raises:
        UserError: If the batch is larger than the data set.
    """
    if not 1 <= batch_size <= num_examples:
        raise UserError(
            f"a batch of {batch_size} cannot be taken from {num_examples} training examples; "
            f"batch_size must be between 1 and {num_examples}"
        )
    return num_examples // batch_size


def epoch_order(seed: int, epoch: int, num_examples: int) -> Int64[np.ndarray, " examples"]:
    """The order of the examples in an epoch: a permutation, another one for each (seed, epoch).

    It is made of raw Philox words, which NumPy promises not to change (NEP 19), so a run resumes
    with the same order under another version. (grain's own shuffle adds the epoch to the seed: the
    second epoch of seed 0 would be the first of seed 1.)
    """
    words = np.random.Philox(key=_key(seed, epoch)).random_raw(num_examples)
    return np.argsort(words, kind="stable")


def drawn_order(source: Source, seed: int, epoch: int) -> Int64[np.ndarray, " examples"]:
    """The examples of an epoch in their order, as the source draws them (`cnn.data.sampling`)."""
    order = epoch_order(seed, epoch, len(source))
    return source.draw(seed, epoch, order) if isinstance(source, Drawn) else order


def train_batches(
    source: Source,
    augment: Augment | ByEpoch,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    host: Host = _ALONE,
    num_threads: int = 1,
    num_workers: int = 0,
) -> Generator[HostBatch, None, None]:
    """This host's part of every training batch, without end; `close()` ends what reads ahead.

    Which examples make batch k depends on (seed, k) alone, and how one is augmented on (seed,
    epoch, position in the epoch) alone: hosts, threads, workers and `start_step` change nothing.
    An epoch drops the remainder that fills no batch; since the next has another order, nothing is
    lost.

    Args:
        source: The examples.
        augment: (image, generator) -> what the model sees; it draws from this generator only. Or
            one for each epoch.
        batch_size: Examples in a batch over all hosts.
        seed: Of order and augmentation, in [0, 2**64).
        start_step: The first batch returned; reaching it costs nothing.
        host: Which part of each batch this process reads.
        num_threads: Threads that prepare batches ahead where there are no workers; 0 prepares
            a batch when it is asked for.
        num_workers: Processes that prepare batches ahead; 0 is none, this process does it. Threads
            are enough for decoding, cropping and flips, which leave the interpreter free; processes
            help where augmentation is much Python (RandAugment and the like). They are started
            anew, so a script of yours needs `if __name__ == "__main__":`.

    Raises:
        UserError: If a batch is larger than the source, or hosts do not divide it; from the
            iterator: what reading an image raises, or that a worker died.
    """
    steps = steps_per_epoch(len(source), batch_size)
    if not 0 <= seed < 2**64:
        raise UserError(f"seed must be between 0 and 2**64 - 1, got {seed}")
    part = host.slice_of(batch_size)
    make_load = functools.partial(_make_load, source, augment, batch_size, steps, seed, part)
    steps_ahead = range(start_step, sys.maxsize)
    return read_ahead(
        make_load,
        steps_ahead,
        num_threads=num_threads,
        num_workers=num_workers,
        faults=faults_of(source),
    )


def _make_load(
    source: Source,
    augment: Augment | ByEpoch,
    batch_size: int,
    steps: int,
    seed: int,
    part: slice,
) -> Callable[[int], HostBatch]:
    """Step -> this host's part of its batch; each process that reads ahead makes its own."""
    # Two epochs are under way at once while threads cross the border.
    order = functools.lru_cache(maxsize=2)(
        lambda epoch: drawn_order(source, seed, epoch)[: steps * batch_size]
    )
    augment_at = augment_of(augment, seed, len(source))

    def load(step: int) -> HostBatch:
        epoch, batch = divmod(step, steps)
        positions = range(batch * batch_size, (batch + 1) * batch_size)[part]
        indices, generator_at = order(epoch), _generator_at(seed, epoch)
        augmented = augment_at(epoch)
        seen = []
        for position in positions:
            index = int(indices[position])
            seen.append(augmented(source, index, generator_at(position)))
        return _batch(seen, len(seen))

    return load


def eval_batches(
    source: Source,
    preprocess: Preprocess,
    *,
    batch_size: int,
    host: Host = _ALONE,
    num_threads: int = 1,
) -> Generator[HostBatch, None, None]:
    """This host's part of every evaluation batch: all examples once, in the order of the source.

    The last batch is filled up with zeros of weight 0, so that every batch has one shape and every
    host as many batches.

    Args:
        source: The examples.
        preprocess: image -> what the model sees, once or in several views (`make_views`).
        batch_size: Examples in a batch over all hosts; it may be larger than the source.
        host: Which part of each batch this process reads.
        num_threads: Threads that prepare batches ahead; 0 prepares a batch when it is asked for.

    Raises:
        UserError: If the source is empty, or hosts do not divide a batch; from the iterator: what
            reading an image raises.
    """
    part = host.slice_of(batch_size)
    if not len(source):
        raise UserError(f"{source.info.name} has no examples to evaluate on")
    num_batches = -(-len(source) // batch_size)
    size = batch_size // host.count

    def load(batch: int) -> HostBatch:
        indices = range(batch * batch_size, (batch + 1) * batch_size)[part]
        examples = [source[index] for index in indices if index < len(source)]
        if not examples:
            # A slice that is all padding still needs the shapes.
            return _batch([_seen(source[0], preprocess)], size, num_real=0)
        return _batch([_seen(example, preprocess) for example in examples], size)

    return read_ahead(lambda: load, range(num_batches), num_threads=num_threads)


def _key(seed: int, stream: int) -> np.ndarray:
    return np.array([seed, stream], np.uint64)


def _generator_at(seed: int, epoch: int) -> Callable[[int], np.random.Generator]:
    """Position in the epoch -> its generator, which lasts until the next is asked for."""
    bits = np.random.Philox(key=_key(seed, _AUGMENT_STREAM | epoch))
    generator = np.random.Generator(bits)
    start = bits.state

    def at(position: int) -> np.random.Generator:
        # Each position owns 2**192 blocks of the stream. Going there takes 1 us, a new one 8.
        start["state"]["counter"][3] = position
        bits.state = start
        return generator

    return at


def _seen(example: Example, preprocess: Preprocess) -> dict[str, Any]:
    """What an evaluation sees of an example.

    Raises:
        UserError: If there are several views of a mask, or of objects.
    """
    if isinstance(preprocess, transforms.Preprocess):
        return preprocess.example(example)
    if "mask" in example or "boxes" in example:
        raise UserError(
            "evaluation.views must be 'center' where pixels have classes or objects boxes, since "
            "the views would have to be put together again"
        )
    return {**example, "image": preprocess(example["image"])}


def _batch(seen: list[dict[str, Any]], size: int, num_real: int | None = None) -> HostBatch:
    """Stacks to a batch of `size`, of which the first `num_real` weigh anything; None is all."""
    num_real = len(seen) if num_real is None else num_real
    image = np.empty((size, *seen[0]["image"].shape), np.float32)
    # One by one: NumPy would first make one array of all, and copy that.
    for index, own in enumerate(seen[:num_real]):
        image[index] = own["image"]
    image[num_real:] = 0
    weight = np.zeros(size, np.float32)
    weight[:num_real] = 1.0
    return {"image": image, **_targets(seen, size, num_real), "weight": weight}


def _targets(seen: list[dict[str, Any]], size: int, num_real: int) -> HostBatch:
    """What is to be learnt of the examples; of padding what means nothing."""
    first = seen[0]
    fills = {name: fill for name, fill in _FILLS.items() if name in first} or {"label": 0}
    targets = {}
    for name in fills:
        shape, kind = np.shape(first[name]), getattr(first[name], "dtype", np.int32)
        if name == "label":
            kind = np.int32 if not shape else np.float32
        targets[name] = np.full((size, *shape), fills[name], kind)
        for index, own in enumerate(seen[:num_real]):
            targets[name][index] = own[name]
    return targets
