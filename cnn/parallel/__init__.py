"""How a task's functions run over devices: the only room that names devices or mesh axes.

A task is written for the whole batch on one device. A `Strategy` runs it over many, in one of two
ways that give the same numbers:

- `mesh`: `jit` over a mesh of axes `data`, `fsdp`, `model`; batches are cut over `data` and `fsdp`,
  the state over `fsdp` and `model`, and the compiler inserts the communication. Batch norm and
  dropout see the global batch, so every number is that of one device up to the order of summation.
- `pmap`: one replica a device; gradients, metrics and batch-norm statistics are averaged over the
  axis `AXIS`, and what else a task keeps of its examples is of all replicas, so their states stay
  equal. Each replica draws its own dropout masks (`fold_in(key, replica)`), so with dropout the
  numbers depend on the number of replicas; without it they are those of `mesh`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from cnn.errors import UserError, unknown
from cnn.parallel.layout import SHARD_MIN_SIZE
from cnn.parallel.mesh import REGION_ANALYSIS, mesh_strategy
from cnn.parallel.pmap import AXIS, pmap_strategy
from cnn.parallel.strategy import HostBatch, Strategy, check_batch_size

__all__ = [
    "AXIS",
    "REGION_ANALYSIS",
    "HostBatch",
    "Strategy",
    "check_batch_size",
    "make_strategy",
    "mesh_strategy",
    "pmap_strategy",
]


def make_strategy(
    devices: Sequence[Any] | None = None,
    *,
    strategy: str,
    num_devices: int,
    mesh: str = "",
    rules: Sequence[str] = (),
    shard_min_size: int = SHARD_MIN_SIZE,
) -> Strategy:
    """The strategy of a name over the first `num_devices` devices.

    Args:
        devices: Those to take from, also of a topology that is only compiled for; None means those
            that JAX has.
        strategy: `mesh` or `pmap`.
        num_devices: How many devices; 0 means all.
        mesh: The lengths of the axes, for instance "data:4,fsdp:2"; see `layout.mesh_shape`. Empty
            puts all devices on `data`, so that each has the whole state. Only for `mesh`.
        rules: How arrays are cut that the family's own rules cut otherwise; see `layout`.
        shard_min_size: Arrays of fewer elements are whole on every device; the axis `fsdp` cuts the
            others.

    Raises:
        UserError: For an unknown name, more devices than there are, or a mesh or rule that cannot
            be.
    """
    if strategy not in ("mesh", "pmap"):
        raise unknown("value of parallel.strategy", strategy, ("mesh", "pmap"))
    devices = jax.devices() if devices is None else devices
    if not 0 <= num_devices <= len(devices):
        raise UserError(
            f"parallel.num_devices is {num_devices}, but there are {len(devices)} "
            f"{devices[0].platform} devices; 0 means all of them"
        )
    chosen = devices[: num_devices or len(devices)]
    if strategy == "mesh":
        return mesh_strategy(chosen, mesh=mesh, rules=rules, shard_min_size=shard_min_size)
    if mesh or rules:
        raise UserError(
            "parallel.mesh and parallel.rules are for parallel.strategy=mesh; under pmap every "
            "device has the whole state"
        )
    return pmap_strategy(chosen)
