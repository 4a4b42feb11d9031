"""A plan: what a training takes on a topology, from its config."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from cnn import parallel
from cnn.plan import gpu, search, tpu
from cnn.plan.chips import Topology
from cnn.plan.costs import Costs, OutOfMemory, roofline
from cnn.plan.hlo import Traffic, sent_bytes
from cnn.plan.program import Step, make_step

SECONDS_PER_HOUR = 3600


class Request(NamedTuple):
    """What is asked besides the config.

    Attributes:
        topology: Where the training would run.
        usd_per_hour: Of one chip; None is the chip's own price.
        num_train: Examples of the data set; 0 is what is known of it.
        num_classes: As `num_train`.
        search: Whether the largest batch that fits is looked for where the config's does not.
    """

    topology: Topology
    usd_per_hour: float | None = None
    num_train: int = 0
    num_classes: int = 0
    search: bool = True


class Plan(NamedTuple):
    """The answer, as the JSON file has it; bytes, FLOPs and traffic are of one chip and one step.

    What could not be known, as the FLOPs of a program that does not fit, is None.

    Attributes:
        model: Of the config.
        dtype: Of the computation.
        remat: As in `nn.remat`.
        topology: As `--topology`.
        num_chips: All.
        parallel: The section of the config.
        parameters: Trained numbers.
        batch_size: Over all chips.
        accumulate_steps: Parts of the batch one after another.
        num_steps: Of the whole training.
        hbm_bytes: Of a chip.
        usd_per_chip_hour: What the cost is computed with; None if not known.
        price_note: Where the price is from.
        fits: Whether there is room; None where only an upper bound is known, and that is too much.
        largest_batch_size: That fits, where the config's does not and it was looked for; 0 if none.
        is_estimate: Whether nothing was compiled, see `cnn.plan.gpu`.
        num_hosts: That hold the chips.
        argument_bytes: State and batch.
        temporary_bytes: What lives within a step.
        output_bytes: Results that replace no argument.
        total_bytes: The three together; if the compiler refused, what it says it needs.
        flops: Two for each multiply-accumulate.
        bytes_accessed: Read and written by operations.
        collectives: Communication by kind.
        sent_bytes: To other chips.
        compute_seconds: The least time of a step by FLOPs.
        memory_seconds: By bytes.
        interconnect_seconds: By what is sent.
        step_seconds: The largest of the three.
        bound_by: Which that is.
        images_per_second: Over all chips, at that time.
        hours: Of all steps, without evaluation and start.
        cost_usd: Of all chips for those hours.
    """

    model: str
    dtype: str
    remat: str
    topology: str
    num_chips: int
    parallel: dict[str, Any]
    parameters: int
    batch_size: int
    accumulate_steps: int
    num_steps: int
    hbm_bytes: int
    usd_per_chip_hour: float | None
    price_note: str
    fits: bool | None
    largest_batch_size: int | None = None
    is_estimate: bool = False
    num_hosts: int | None = None
    argument_bytes: int | None = None
    temporary_bytes: int | None = None
    output_bytes: int | None = None
    total_bytes: int | None = None
    flops: float | None = None
    bytes_accessed: float | None = None
    collectives: Mapping[str, Traffic] = types.MappingProxyType({})
    sent_bytes: float | None = None
    compute_seconds: float | None = None
    memory_seconds: float | None = None
    interconnect_seconds: float | None = None
    step_seconds: float | None = None
    bound_by: str | None = None
    images_per_second: float | None = None
    hours: float | None = None
    cost_usd: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Dictionaries and numbers."""
        return {
            **self._asdict(),
            "collectives": {kind: one._asdict() for kind, one in self.collectives.items()},
        }


def make_plan(
    config: Mapping[str, Any], request: Request, note: Callable[[str], None] = lambda _: None
) -> Plan:
    """Compiles, or estimates, and works out.

    Args:
        config: The experiment.
        request: Where, and at what price.
        note: Told before each compilation, which takes minutes.

    Raises:
        UserError: As `make_step` and `tpu.devices`.
    """
    topology = request.topology
    step, costs = _measure(config, request, note)
    plan = _worked_out(config, request, step, costs)
    if plan.fits or plan.is_estimate or not request.search:
        return plan

    def need(batch_size: int) -> float:
        _, costs = _measure(_with_batch(config, batch_size), request, note)
        if not isinstance(costs, OutOfMemory):
            return float(costs.memory.total)
        return max(costs.needed, plan.hbm_bytes + 1.0) if costs.needed else math.inf

    found = search.largest(
        need,
        float(plan.hbm_bytes),
        step=topology.num_chips * plan.accumulate_steps,
        start=plan.batch_size,
        start_needed=float(plan.total_bytes or 0),
    )
    return plan._replace(largest_batch_size=found)


def _measure(
    config: Mapping[str, Any], request: Request, note: Callable[[str], None]
) -> tuple[Step, Costs | OutOfMemory]:
    topology, chips = request.topology, request.topology.num_chips
    batch_size = config["loader"]["batch_size"]
    sizes = {"num_train": request.num_train, "num_classes": request.num_classes}
    if topology.chip.kind == "gpu":
        parallel.check_batch_size(batch_size, chips * config["task"]["accumulate_steps"])
        step = make_step(config, jax.devices("cpu")[:1], share=chips, **sizes)
        return step, gpu.estimate(step, chips, topology.chip.chips_per_host)
    devices = tpu.devices(topology)
    step = make_step(config, devices, **sizes)
    note(f"compiling a batch of {batch_size:,} for {topology}; this takes minutes")
    try:
        return step, tpu.compile_step(step, devices, chips)
    except OutOfMemory as error:
        return step, error


def _with_batch(config: Mapping[str, Any], batch_size: int) -> dict[str, Any]:
    return {**config, "loader": {**config["loader"], "batch_size": batch_size}}


def _worked_out(
    config: Mapping[str, Any], request: Request, step: Step, costs: Costs | OutOfMemory
) -> Plan:
    topology, chip = request.topology, request.topology.chip
    price = chip.usd_per_hour if request.usd_per_hour is None else request.usd_per_hour
    # Fields of a model need not be listed; this one is none by default in every family.
    fields = config["model"]
    plan = Plan(
        model=config["model"]["name"],
        dtype=config["model"]["dtype"],
        remat=fields.get("remat", "none"),
        topology=str(topology),
        num_chips=topology.num_chips,
        parallel=dict(config["parallel"]),
        parameters=step.num_parameters,
        batch_size=config["loader"]["batch_size"],
        accumulate_steps=config["task"]["accumulate_steps"],
        num_steps=step.experiment.loop.num_steps,
        hbm_bytes=chip.hbm_bytes,
        fits=False,
        usd_per_chip_hour=price or None,
        price_note=chip.price_note if request.usd_per_hour is None else "--price",
    )
    if isinstance(costs, OutOfMemory):
        return plan._replace(total_bytes=costs.needed or None)
    return _with_costs(plan, costs, topology)


def _with_costs(plan: Plan, costs: Costs, topology: Topology) -> Plan:
    limits, memory = roofline(costs, topology.chip), costs.memory
    fits = memory.total <= plan.hbm_bytes
    if costs.is_estimate and not fits and memory.arguments <= plan.hbm_bytes:
        fits = None
    hours = plan.num_steps * limits.seconds / SECONDS_PER_HOUR
    price = plan.usd_per_chip_hour
    return plan._replace(
        num_hosts=costs.num_hosts,
        argument_bytes=memory.arguments,
        temporary_bytes=memory.temporaries,
        output_bytes=memory.outputs,
        total_bytes=memory.total,
        fits=fits,
        flops=costs.flops,
        bytes_accessed=costs.bytes_accessed,
        collectives=costs.traffic,
        sent_bytes=sent_bytes(costs.traffic),
        compute_seconds=limits.compute,
        memory_seconds=limits.memory,
        interconnect_seconds=limits.interconnect,
        step_seconds=limits.seconds,
        bound_by=limits.bound_by,
        images_per_second=plan.batch_size / limits.seconds,
        hours=hours,
        cost_usd=None if price is None else price * plan.num_chips * hours,
        is_estimate=costs.is_estimate,
    )
