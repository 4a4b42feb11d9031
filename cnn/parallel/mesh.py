"""`jit` with shardings over a mesh of devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

from cnn.errors import UserError
from cnn.parallel.layout import SHARD_MIN_SIZE, Layout, make_layout
from cnn.parallel.strategy import HostBatch, Strategy

REGION_ANALYSIS = "xla_cpu_copy_insertion_use_region_analysis"


def mesh_strategy(
    devices: Sequence[Any],
    *,
    mesh: str = "",
    rules: Sequence[str] = (),
    shard_min_size: int = SHARD_MIN_SIZE,
) -> Strategy:
    """A batch cut over the axes `data` and `fsdp`, a state over `fsdp` and `model`.

    Args:
        devices: Any, also of a topology that is not there.
        mesh: As in `make_strategy`.
        rules: As in `make_strategy`.
        shard_min_size: As in `make_strategy`.

    Raises:
        UserError: For a mesh or a rule that cannot be.
    """
    layout = make_layout(devices, mesh, rules, shard_min_size)
    by_example = NamedSharding(layout.mesh, PartitionSpec(("data", "fsdp")))
    whole = NamedSharding(layout.mesh, PartitionSpec())
    num_parts = layout.mesh.shape["data"] * layout.mesh.shape["fsdp"]

    def put(batch: HostBatch) -> PyTree:
        # With several processes JAX does not count this as an explicit transfer.
        with jax.transfer_guard_host_to_device("allow"):
            local = {name: np.asarray(x) for name, x in batch.items()}
            # All at once, since each call costs as much as the copying.
            return jax.make_array_from_process_local_data(by_example, local)

    def init(function: Callable[..., PyTree], key: jax.Array, batch: PyTree) -> PyTree:
        # Both jitted, so that it is traced once.
        shardings = layout.shardings(jax.jit(function).eval_shape(key, batch))
        return jax.jit(function, out_shardings=shardings)(key, batch)

    def fetch(tree: PyTree) -> PyTree:
        there = jax.tree.map(lambda x: x.is_fully_addressable or x.is_fully_replicated, tree)
        if not all(jax.tree.leaves(there)):
            tree = everywhere(tree)
        return jax.device_get(tree)

    everywhere = jax.jit(lambda tree: tree, out_shardings=whole)

    def reads(function: Callable[..., PyTree], out: NamedSharding) -> Callable[..., PyTree]:
        if gather is None:
            return jax.jit(function, out_shardings=out)
        return jax.jit(
            lambda state, batch: function(layout.gather(state), batch), out_shardings=out
        )

    gather = layout.gather if layout.mesh.shape["fsdp"] > 1 else None
    return Strategy(
        name="mesh",
        num_devices=len(devices),
        num_parts=num_parts,
        host=_host(by_example, num_parts),
        axis_name=None,
        gather=gather,
        put=put,
        share=lambda tree: jax.tree.map(lambda x: _put_whole(x, whole), tree),
        init=init,
        step=lambda step: _Step(step, layout),
        total=lambda tree: tree,
        evaluate=lambda evaluate: reads(evaluate, whole),
        predict=lambda predict: reads(predict, by_example),
        fetch=fetch,
        fetch_examples=fetch,
        pack=lambda tree: tree,
        unpack=lambda tree: jax.device_put(tree, layout.shardings(tree)),
        abstract=lambda tree: jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            tree,
            layout.shardings(tree),
        ),
        abstract_batch=lambda batch: jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=by_example), batch
        ),
    )


class _Step:
    """A jitted step, compiled to leave the state where it was: known at the first call."""

    def __init__(self, step: Callable[..., PyTree], layout: Layout) -> None:
        self._step = step
        self._layout = layout
        self._jitted: Any = None

    def _known(self, state: PyTree, tally: PyTree) -> Any:
        if self._jitted is None:
            on_cpu = self._layout.mesh.devices.flat[0].platform == "cpu"
            self._jitted = jax.jit(
                self._step,
                donate_argnums=0,
                out_shardings=self._layout.shardings((state, tally)),
                # XLA otherwise copies each parameter in a step, lest its update be too early.
                compiler_options={REGION_ANALYSIS: True} if on_cpu else None,
            )
        return self._jitted

    def __call__(self, state: PyTree, tally: PyTree, *rest: Any) -> PyTree:
        return self._known(state, tally)(state, tally, *rest)

    def lower(self, state: PyTree, tally: PyTree, *rest: Any) -> Any:
        """As `jax.jit(step).lower`."""
        return self._known(state, tally).lower(state, tally, *rest)


def _put_whole(x: Any, whole: NamedSharding) -> jax.Array:
    """A value that all processes have, on all devices."""
    if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.device_put(x, whole)
    # `device_put` has keys on devices of this process only.
    numbers = jax.device_put(jax.random.key_data(x), whole)
    return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(x))


def _host(by_example: NamedSharding, num_parts: int) -> tuple[int, int]:
    """(i, n): this process's devices have part i of n of a batch; (0, 1) where it has none."""
    cuts = by_example.addressable_devices_indices_map((num_parts,)).values()
    rows = sorted({cut[0].indices(num_parts)[0] for cut in cuts if cut is not None})
    if not rows:
        return 0, 1
    index, rest = divmod(rows[0], len(rows))
    if rest or rows[-1] - rows[0] != len(rows) - 1 or num_parts % len(rows):
        raise UserError(
            "the devices of a process share a part of the batch with those of another; in "
            "parallel.mesh let model divide the number of devices of a process, or be a multiple"
        )
    return index, num_parts // len(rows)
