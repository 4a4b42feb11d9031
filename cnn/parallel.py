"""How a task's functions run over devices: the only file that names devices or mesh axes.

A task is written for the whole batch on one device. A `Strategy` runs it over many, in one of two
ways that give the same numbers:

- `mesh`: `jit` over a mesh of axes `data`, `fsdp`, `model`; batches are cut over `data` and `fsdp`,
  the compiler inserts the communication. Batch norm and dropout see the global batch, so every
  number is that of one device up to the order of summation.
- `pmap`: one replica a device; gradients, metrics and batch-norm statistics are averaged over the
  axis `AXIS`. Each replica draws its own dropout masks (`fold_in(key, replica)`), so with dropout
  the numbers depend on the number of replicas; without it they are those of `mesh`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree, Shaped

from cnn.core import Batch
from cnn.errors import UserError, unknown

AXIS = "replica"
"""The axis name under `pmap`."""

REGION_ANALYSIS = "xla_cpu_copy_insertion_use_region_analysis"

HostBatch: TypeAlias = Mapping[str, Shaped[np.ndarray, "batch ..."]]


class Strategy(NamedTuple):
    """One way of running pure functions over devices.

    A value is "laid out" when it lives on the devices as the strategy wants it: replicated over the
    mesh, or with a leading replica axis under `pmap`.

    Attributes:
        name: `mesh` or `pmap`.
        num_devices: How many devices share a batch.
        axis_name: What batch norm and gradients average over; None under `mesh`.
        put: Host batch (this host's slice) -> laid out batch. The batch axis must divide.
        share: A value that every device sees whole, as the key of a step.
        init: (function of (key, batch), key, laid out batch) -> laid out result.
        step: Function of (state, tally, batch, key, *shared) -> jitted form, the state donated; all
            but the key and what comes after it, which are shared, laid out.
        total: Inside a step or an evaluation: sums over this replica's examples -> over all.
        evaluate: Function of (state, batch) -> jitted form whose result is laid out.
        predict: Function of (state, batch) -> jitted form whose results keep the example axis.
        fetch: Laid out value -> NumPy, one copy.
        fetch_examples: Results of `predict` -> NumPy, example axis first.
        pack: Laid out value -> one copy as device arrays, to be saved.
        unpack: One copy -> laid out.
        abstract: Laid out value -> shapes, types and shardings of its packed form, to be restored.
        abstract_batch: A batch, or its shapes and types -> those with shardings, as `put` would lay
            it out.
    """

    name: str
    num_devices: int
    axis_name: str | None
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


def make_strategy(
    devices: Sequence[Any] | None = None, *, strategy: str, num_devices: int
) -> Strategy:
    """The strategy of a name over the first `num_devices` devices; 0 means all.

    `devices` are those to take from, None those that JAX has; they may be of a topology that is
    only compiled for.

    Raises:
        UserError: For an unknown name or more devices than there are.
    """
    factories = {"mesh": mesh_strategy, "pmap": pmap_strategy}
    if strategy not in factories:
        raise unknown("value of parallel.strategy", strategy, factories)
    devices = jax.devices() if devices is None else devices
    if not 0 <= num_devices <= len(devices):
        raise UserError(
            f"parallel.num_devices is {num_devices}, but there are {len(devices)} "
            f"{devices[0].platform} devices; 0 means all of them"
        )
    return factories[strategy](devices[: num_devices or len(devices)])


def check_batch_size(batch_size: int, num_devices: int) -> None:
    """Raises a UserError that names the nearest sizes if the devices cannot share a batch."""
    if batch_size < 1 or batch_size % num_devices:
        below = batch_size // num_devices * num_devices
        near = [size for size in (below, below + num_devices) if size > 0]
        raise UserError(
            f"a batch of {batch_size} does not divide over {num_devices} devices; the nearest that "
            f"{'does is' if len(near) == 1 else 'do are'} {' and '.join(map(str, near))} "
            "(loader.batch_size), or use fewer devices (parallel.num_devices)"
        )


def mesh_strategy(devices: Sequence[Any]) -> Strategy:
    """`jit` with shardings over a mesh of the devices."""
    mesh = Mesh(
        np.asarray(devices).reshape(-1, 1, 1),
        ("data", "fsdp", "model"),
        axis_types=(AxisType.Auto,) * 3,
    )
    replicated = NamedSharding(mesh, PartitionSpec())
    by_example = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))

    def put(batch: HostBatch) -> PyTree:
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(by_example, np.asarray(x)), dict(batch)
        )

    def abstract(tree: PyTree, sharding: NamedSharding = replicated) -> PyTree:
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    return Strategy(
        name="mesh",
        num_devices=len(devices),
        axis_name=None,
        put=put,
        share=lambda tree: jax.device_put(tree, replicated),
        init=lambda init, key, batch: jax.jit(init, out_shardings=replicated)(key, batch),
        step=lambda step: jax.jit(
            step,
            donate_argnums=0,
            out_shardings=replicated,
            # XLA otherwise copies each parameter in a step, lest its update be too early.
            compiler_options={REGION_ANALYSIS: True} if devices[0].platform == "cpu" else None,
        ),
        total=lambda tree: tree,
        evaluate=lambda evaluate: jax.jit(evaluate, out_shardings=replicated),
        predict=lambda predict: jax.jit(predict, out_shardings=by_example),
        fetch=jax.device_get,
        fetch_examples=jax.device_get,
        pack=lambda tree: tree,
        unpack=lambda tree: jax.device_put(tree, replicated),
        abstract=abstract,
        abstract_batch=lambda batch: abstract(batch, by_example),
    )


def pmap_strategy(devices: Sequence[Any]) -> Strategy:
    """One replica a device, with explicit averages over `AXIS`."""
    count = len(devices)
    mesh = Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))
    by_replica = NamedSharding(mesh, PartitionSpec(AXIS))
    everywhere = NamedSharding(mesh, PartitionSpec())

    def pmap(function: Callable[..., PyTree], **options: Any) -> Callable[..., PyTree]:
        return jax.pmap(function, axis_name=AXIS, devices=devices, **options)

    def put(batch: HostBatch) -> PyTree:
        return jax.tree.map(
            lambda x: jax.device_put(np.asarray(x).reshape(count, -1, *x.shape[1:]), by_replica),
            dict(batch),
        )

    def step(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
        def replica(
            state: PyTree, tally: PyTree, batch: Batch, key: jax.Array, shared: PyTree
        ) -> PyTree:
            own_key = jax.random.fold_in(key, jax.lax.axis_index(AXIS))
            return function(state, tally, batch, own_key, *shared)

        run = pmap(replica, in_axes=(0, 0, 0, None, None), donate_argnums=0)
        return lambda state, tally, batch, key, *shared: run(state, tally, batch, key, shared)

    def first(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x.addressable_shards[0].data.reshape(x.shape[1:]), tree)

    def examples(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.device_get(tree))

    return Strategy(
        name="pmap",
        num_devices=count,
        axis_name=AXIS,
        put=put,
        share=lambda tree: jax.device_put(tree, everywhere),
        init=lambda init, key, batch: pmap(init, in_axes=(None, 0))(key, batch),
        step=step,
        total=lambda tree: jax.lax.psum(tree, AXIS),
        evaluate=pmap,
        predict=pmap,
        fetch=lambda tree: jax.device_get(first(tree)),
        fetch_examples=examples,
        pack=first,
        unpack=lambda tree: pmap(lambda x, _: x, in_axes=(None, 0))(tree, jnp.arange(count)),
        abstract=lambda tree: jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                x.shape[1:], x.dtype, sharding=jax.sharding.SingleDeviceSharding(devices[0])
            ),
            tree,
        ),
        abstract_batch=lambda batch: jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                (count, x.shape[0] // count, *x.shape[1:]), x.dtype, sharding=by_replica
            ),
            batch,
        ),
    )
