"""The real TPU compiler, on a machine without a TPU.

`jax.experimental.topologies` describes a slice to compile for; libtpu holds the compiler.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import topologies

from cnn.errors import UserError
from cnn.plan import hlo
from cnn.plan.chips import EXAMPLE, Topology
from cnn.plan.costs import Costs, Memory, OutOfMemory
from cnn.plan.program import Step

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def devices(topology: Topology) -> Sequence[Any]:
    """The devices of a slice that need not be here; some chips have two each.

    Raises:
        UserError: If the compiler is not installed, or there is no such slice.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"--topology={topology} needs the compiler for TPUs, libtpu, which is not installed; "
            "run: pip install -e '.[tpu]' (a GPU such as h100:8 needs none)"
        )
    # Otherwise libtpu asks the metadata server of a cloud machine what it is, and waits.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    # Nothing runs on a TPU, so another program may.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    # What it would look for next and complain of; the slice is the one that is asked for.
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=str(topology))
    except (jax.errors.JaxRuntimeError, ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"there is no slice {topology} (try {EXAMPLE}, v5p:2x2x1; chips along an axis are "
            f"mostly powers of two): {reason}"
        ) from error
    return described.devices


def compile_step(step: Step, devices: Sequence[Any], num_chips: int) -> Costs:
    """Compiles a step for a slice, which takes minutes, and reads off what it takes.

    Raises:
        OutOfMemory: If the compiler finds no room for the program.
    """
    try:
        compiled = step.run.lower(*step.args).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "out of memory" not in str(error):
            raise
        raise OutOfMemory(needed_bytes(str(error))) from error
    per_chip = len(devices) // num_chips
    memory = compiled.memory_analysis()
    cost = compiled.cost_analysis()
    # The compiler counts the body of a loop once, and the parts of a batch are a loop.
    turns = step.experiment.config["task"]["accumulate_steps"]
    return Costs(
        Memory(
            per_chip * memory.argument_size_in_bytes,
            per_chip * memory.temp_size_in_bytes,
            per_chip * (memory.output_size_in_bytes - memory.alias_size_in_bytes),
        ),
        per_chip * turns * cost["flops"],
        per_chip * turns * cost["bytes accessed"],
        _of_chip(hlo.collectives(compiled.as_text(), len(devices)), per_chip),
        num_hosts=len({device.process_index for device in devices}),
        is_estimate=False,
    )


def needed_bytes(message: str) -> int:
    """What the compiler says it would need, as in `Used 18.77G of 15.75G hbm`; 0 if it does not."""
    found = re.search(r"[Uu]sed ([\d.]+)([KMG]?) of [\d.]+[KMG]? hbm", message)
    return round(float(found[1]) * _UNITS[found[2]]) if found else 0


def _of_chip(traffic: dict[str, hlo.Traffic], per_chip: int) -> dict[str, hlo.Traffic]:
    return {
        kind: one._replace(sent_bytes=per_chip * one.sent_bytes) for kind, one in traffic.items()
    }
