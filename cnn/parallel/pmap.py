"""One replica a device, with explicit averages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from cnn.core import Batch
from cnn.errors import UserError
from cnn.parallel.strategy import HostBatch, Strategy

AXIS = "replica"
"""The axis name."""


def pmap_strategy(devices: Sequence[Any]) -> Strategy:
    """One replica a device, with explicit averages over `AXIS`; for one process.

    Raises:
        UserError: If there are several processes.
    """
    if jax.process_count() > 1:
        raise UserError(
            f"parallel.strategy=pmap is for one process, and there are {jax.process_count()}; "
            "mesh gives the same numbers on any number of them"
        )
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
        num_parts=count,
        host=(0, 1),
        axis_name=AXIS,
        gather=None,
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
