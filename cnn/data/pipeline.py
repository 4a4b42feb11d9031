"""Batches as a pure function of (seed, step), read ahead by threads, the same on all hosts."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from cnn.data.by_epoch import ByEpoch, augment_of
from cnn.data.contract import Source
from cnn.data.sampling import Drawn
from cnn.errors import UserError

Image = Float32[np.ndarray, "height width channels"]
Augment = Callable[[UInt8[np.ndarray, "height width channels"], np.random.Generator], Image]
Views = Float32[np.ndarray, "views height width channels"]
Preprocess = Callable[[UInt8[np.ndarray, "height width channels"]], Image | Views]
HostBatch = dict[str, np.ndarray]
"""`image` float32 [batch, height, width, channels] (evaluated in several views, [batch, views,
height, width, channels]), `label` int32 [batch] (where the target is no
class, float32 [batch, targets]), `weight` float32 [batch]: 1 for an example, 0 for padding."""

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


def _drawn(source: Source, seed: int, epoch: int) -> Int64[np.ndarray, " examples"]:
    order = epoch_order(seed, epoch, len(source))
    return source.draw(seed, epoch, order) if isinstance(source, Drawn) else order


def train_batches(
    source: Source,
    augment: Augment | ByEpoch,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    host_index: int = 0,
    host_count: int = 1,
    num_threads: int = 1,
) -> Generator[HostBatch, None, None]:
    """This host's part of every training batch, without end; `close()` stops the threads.

    Which examples make batch k depends on (seed, k) alone, and how one is augmented on (seed,
    epoch, position in the epoch) alone: hosts, threads and `start_step` change nothing. An epoch
    drops the remainder that fills no batch; since the next has another order, nothing is lost.

    Args:
        source: The examples.
        augment: (image, generator) -> what the model sees; it draws from this generator only. Or
            one for each epoch.
        batch_size: Examples in a batch over all hosts.
        seed: Of order and augmentation, in [0, 2**64).
        start_step: The first batch returned; reaching it costs nothing.
        host_index: This host reads the `host_index`-th contiguous slice of each batch.
        host_count: Hosts that share a batch.
        num_threads: Threads that prepare batches ahead; 0 prepares a batch when it is asked for.

    Raises:
        UserError: If a batch is larger than the source, or hosts do not divide it; from the
            iterator: what reading an image raises.
    """
    steps = steps_per_epoch(len(source), batch_size)
    if not 0 <= seed < 2**64:
        raise UserError(f"seed must be between 0 and 2**64 - 1, got {seed}")
    part = _host_slice(batch_size, host_index, host_count)
    # Two epochs are under way at once while threads cross the border.
    order = functools.lru_cache(maxsize=2)(
        lambda epoch: _drawn(source, seed, epoch)[: steps * batch_size]
    )
    augment_at = augment_of(augment, seed, len(source))

    def load(step: int) -> HostBatch:
        epoch, batch = divmod(step, steps)
        positions = range(batch * batch_size, (batch + 1) * batch_size)[part]
        indices, generator_at = order(epoch), _generator_at(seed, epoch)
        augmented = augment_at(epoch)
        images, labels = [], []
        for position in positions:
            index = int(indices[position])
            example = source[index]
            images.append(augmented(example["image"], generator_at(position), index))
            labels.append(example["label"])
        return _batch(images, labels, len(images))

    return _read_ahead(load, range(start_step, sys.maxsize), num_threads)


def eval_batches(
    source: Source,
    preprocess: Preprocess,
    *,
    batch_size: int,
    host_index: int = 0,
    host_count: int = 1,
    num_threads: int = 1,
) -> Generator[HostBatch, None, None]:
    """This host's part of every evaluation batch: all examples once, in the order of the source.

    The last batch is filled up with zeros of weight 0, so that every batch has one shape and every
    host as many batches.

    Args:
        source: The examples.
        preprocess: image -> what the model sees, once or in several views (`make_views`).
        batch_size: Examples in a batch over all hosts; it may be larger than the source.
        host_index: This host reads the `host_index`-th contiguous slice of each batch.
        host_count: Hosts that share a batch.
        num_threads: As for `train_batches`.

    Raises:
        UserError: If the source is empty, or hosts do not divide a batch; from the iterator: what
            reading an image raises.
    """
    part = _host_slice(batch_size, host_index, host_count)
    if not len(source):
        raise UserError(f"{source.info.name} has no examples to evaluate on")
    num_batches = -(-len(source) // batch_size)
    size = batch_size // host_count

    def load(batch: int) -> HostBatch:
        indices = range(batch * batch_size, (batch + 1) * batch_size)[part]
        examples = [source[index] for index in indices if index < len(source)]
        images = [preprocess(example["image"]) for example in examples]
        labels = [example["label"] for example in examples]
        if not examples:
            # A slice that is all padding still needs the shapes.
            example = source[0]
            blank = np.zeros_like(preprocess(example["image"]))
            return _batch([blank], [example["label"]], size, num_real=0)
        return _batch(images, labels, size)

    return _read_ahead(load, range(num_batches), num_threads)


def _host_slice(batch_size: int, host_index: int, host_count: int) -> slice:
    if batch_size < 1 or batch_size % host_count:
        raise UserError(
            f"a batch of {batch_size} cannot be shared by {host_count} hosts; choose a multiple of "
            f"{host_count}, for instance {max(1, batch_size // host_count) * host_count}"
        )
    size = batch_size // host_count
    return slice(host_index * size, (host_index + 1) * size)


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


def _batch(
    images: list[Any], labels: list[Any], size: int, num_real: int | None = None
) -> HostBatch:
    """Stacks to a batch of `size`, of which the first `num_real` weigh anything; None is all."""
    num_real = len(images) if num_real is None else num_real
    image = np.zeros((size, *images[0].shape), np.float32)
    kind = np.int32 if np.ndim(labels[0]) == 0 else np.float32
    label = np.zeros((size, *np.shape(labels[0])), kind)
    if num_real:
        image[:num_real] = images
        label[:num_real] = labels
    weight = np.zeros(size, np.float32)
    weight[:num_real] = 1.0
    return {"image": image, "label": label, "weight": weight}


def _read_ahead(
    load: Callable[[int], HostBatch], steps: range, num_threads: int
) -> Generator[HostBatch, None, None]:
    import grain

    # A whole batch is one element: grain's bookkeeping costs 50 us an element, several times what a
    # small image costs.
    batches = grain.MapDataset.range(steps.start, steps.stop).map(_errors_as_elements(load))
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    iterator = batches.to_iter_dataset(options).__iter__()
    iterator.start_prefetch()
    return _closing(iterator)


def _errors_as_elements(
    load: Callable[[int], HostBatch],
) -> Callable[[int], HostBatch | UserError]:
    """Carries a user's mistake through grain, which would add a line about itself to its text."""

    def attempt(step: int) -> HostBatch | UserError:
        try:
            return load(step)
        except UserError as error:
            return error

    return attempt


def _closing(iterator: Any) -> Generator[HostBatch, None, None]:
    try:
        for element in iterator:
            if isinstance(element, UserError):
                raise element
            yield element
    finally:
        iterator.close()
