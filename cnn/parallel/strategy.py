"""What a way of running over devices consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import PyTree, Shaped

from cnn.errors import UserError

HostBatch: TypeAlias = Mapping[str, Shaped[np.ndarray, "batch ..."]]


class Strategy(NamedTuple):
    """One way of running pure functions over devices.

    A value is "laid out" when it lives on the devices as the strategy wants it: cut or whole on a
    mesh, or with a leading replica axis under `pmap`.

    Attributes:
        name: `mesh` or `pmap`.
        num_devices: How many devices there are.
        num_parts: Into how many parts they cut a batch: as many, but for the axis `model`, along
            which devices share a part.
        host: (i, n): of each batch this process reads part i of n.
        axis_name: Over which batch norm, gradients, and what a task's state has of the examples are
            those of all devices; None under `mesh`.
        gather: Parameters that are cut -> as a loss wants them, within the function that is
            differentiated; None where every device has them whole.
        put: Host batch (this host's part) -> laid out batch. The batch axis must divide.
        share: A value that every device sees whole, as the key of a step.
        init: (function of (key, batch), key, laid out batch) -> laid out result, of which no device
            holds more than its part at any time.
        step: Function of (state, tally, batch, key, *shared) -> jitted form, the state donated; all
            but the key and what comes after it, which are shared, laid out. Can also be lowered,
            `step(function).lower(...)`, from shapes.
        total: Inside a step or an evaluation: sums over this replica's examples -> over all.
        evaluate: Function of (state, batch) -> jitted form whose result every device has whole.
        predict: Function of (state, batch) -> jitted form whose results keep the example axis.
        fetch: Laid out value -> NumPy, one copy; with several processes each gets it.
        fetch_examples: Results of `predict` -> NumPy, example axis first, of all processes; also of
            a laid out batch.
        pack: Laid out value -> one copy as device arrays, to be saved.
        unpack: One copy -> laid out.
        abstract: Laid out value -> shapes, types and shardings of its packed form, to be restored.
        abstract_batch: A batch, or its shapes and types -> those with shardings, as `put` would lay
            it out.
    """

    name: str
    num_devices: int
    num_parts: int
    host: tuple[int, int]
    axis_name: str | None
    gather: Callable[[PyTree], PyTree] | None
    put: Callable[[HostBatch], PyTree]
    share: Callable[[PyTree], PyTree]
    init: Callable[[Callable[..., PyTree], jax.Array, PyTree], PyTree]
    step: Callable[[Callable[..., PyTree]], Callable[..., PyTree]]
    total: Callable[[PyTree], PyTree]
    evaluate: Callable[[Callable[..., PyTree]], Callable[..., PyTree]]
    predict: Callable[[Callable[..., PyTree]], Callable[..., PyTree]]
    fetch: Callable[[PyTree], PyTree]
    fetch_examples: Callable[[PyTree], PyTree]
    pack: Callable[[PyTree], PyTree]
    unpack: Callable[[PyTree], PyTree]
    abstract: Callable[[PyTree], PyTree]
    abstract_batch: Callable[[PyTree], PyTree]


def check_batch_size(batch_size: int, num_parts: int) -> None:
    """Raises a UserError that names the nearest sizes if the devices cannot share a batch."""
    if batch_size < 1 or batch_size % num_parts:
        below = batch_size // num_parts * num_parts
        near = [size for size in (below, below + num_parts) if size > 0]
        raise UserError(
            f"a batch of {batch_size} does not divide over {num_parts} devices; the nearest that "
            f"{'does is' if len(near) == 1 else 'do are'} {' and '.join(map(str, near))} "
            "(loader.batch_size), or use fewer devices (parallel.num_devices)"
        )
