"""Lines of results: what a row's sides measured, as tables and files hold it."""

from __future__ import annotations

import csv
import io
import json
import math
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cnn import models
from cnn.benchmark.job import Network, Operation
from cnn.benchmark.measure import OURS, Measured, Row, ratio, spread
from cnn.report import files

KINDS = {"vit": "ViT", "mixer": "MLP", "mlp": "MLP"}
"""What a family that is no CNN is instead."""


class NetworkLine(NamedTuple):
    """One side of a network's row, as in results.csv; what could not be known is None.

    Attributes:
        model: In the registry.
        kind: `CNN`, `ViT` or `MLP`.
        mode: `train` or `infer`.
        side: `ours`, `flax` (plain `lax` operations) or `torch`.
        batch_size: Over all devices.
        image_size: In pixels.
        dtype: Of the computation.
        parameters: Trained ones; of a generator those of the network that makes the images.
        macs: Multiply-accumulates of its forward pass for one image.
        step_macs: Of the whole step, counted on the program of the step itself.
        compile_cold_seconds: Tracing, lowering, compiling with an empty cache.
        compile_warm_seconds: The same in a new process that finds the program in the cache.
        step_ms: Median over the rounds; below their minimum and quartiles.
        images_per_second: At the median.
        gflops: Thousands of millions of operations a second, two for each of `step_macs`.
        matmul_gflops: The same of a large matrix product, measured in the same rounds.
        matmul_percent: The one by the other.
        peak_bytes: Memory of a step: of the device, on a CPU of the whole process.
        estimated_bytes: Memory of a step by the compiler's plan, without the process.
        ratio: Time of ours by the time of this side, pair by pair: median, quartiles.
        rounds: How many pairs.
        steps_per_round: How many steps each measurement is the mean of.
        layout: The memory format that was faster, for torch.
        seconds: Of one step, of each round.
    """

    model: str
    kind: str
    mode: str
    side: str
    batch_size: int
    image_size: int
    dtype: str
    parameters: int
    macs: int
    step_macs: int
    compile_cold_seconds: float | None
    compile_warm_seconds: float | None
    step_ms: float
    step_ms_min: float
    step_ms_q1: float
    step_ms_q3: float
    images_per_second: float
    gflops: float
    matmul_gflops: float
    matmul_percent: float
    peak_bytes: int | None
    estimated_bytes: int | None
    ratio: float | None
    ratio_q1: float | None
    ratio_q3: float | None
    rounds: int
    steps_per_round: int
    layout: str | None
    seconds: tuple[float, ...]


class OperationLine(NamedTuple):
    """One side of an operation's row, as in operations.csv; the fields are those of a network's."""

    operation: str
    part: str
    side: str
    dtype: str
    ms: float
    ms_min: float
    ms_q1: float
    ms_q3: float
    ratio: float | None
    ratio_q1: float | None
    ratio_q3: float | None
    rounds: int
    calls_per_round: int
    layout: str | None
    seconds: tuple[float, ...]


Line = NetworkLine | OperationLine


def lines(row: Row) -> list[Line]:
    """A line a side, ours first."""
    if isinstance(row.job, Network):
        return [*_network_lines(row, row.job)]
    return [*_operation_lines(row, row.job)]


def _kind(name: str) -> str:
    """What a network is, or the backbone of one for a dense task."""
    dense = name in (*models.segmenters(), *models.detectors())
    body = models.backbone_of(name)[0] if dense else name
    return KINDS.get(models.describe(body).family, "CNN")


def _network_lines(row: Row, job: Network) -> list[NetworkLine]:
    counts, rate = row.counts, row.gflops
    found = []
    for side, one in row.sides.items():
        low = spread(one.seconds)
        gflops = 2e-9 * counts.step_macs / low.median
        found.append(
            NetworkLine(
                model=job.model,
                kind=_kind(job.model),
                mode=job.mode,
                side=side,
                batch_size=job.batch_size,
                image_size=job.image_size,
                dtype=job.dtype,
                parameters=counts.parameters,
                macs=counts.macs,
                step_macs=counts.step_macs,
                compile_cold_seconds=one.first.compile_seconds,
                compile_warm_seconds=one.again.compile_seconds if one.again else None,
                step_ms=1e3 * low.median,
                step_ms_min=1e3 * low.minimum,
                step_ms_q1=1e3 * low.lower,
                step_ms_q3=1e3 * low.upper,
                images_per_second=job.batch_size / low.median,
                gflops=gflops,
                matmul_gflops=rate,
                matmul_percent=100 * gflops / rate,
                peak_bytes=one.peak_bytes,
                estimated_bytes=one.first.estimated_bytes,
                **_ratios(row.sides, side),
                rounds=len(one.seconds),
                steps_per_round=one.steps_per_round,
                layout=one.first.layout,
                seconds=one.seconds,
            )
        )
    return found


def _operation_lines(row: Row, job: Operation) -> list[OperationLine]:
    found = []
    for side, one in row.sides.items():
        low = spread(one.seconds)
        found.append(
            OperationLine(
                operation=job.text,
                part=job.part,
                side=side,
                dtype=job.dtype,
                ms=1e3 * low.median,
                ms_min=1e3 * low.minimum,
                ms_q1=1e3 * low.lower,
                ms_q3=1e3 * low.upper,
                **_ratios(row.sides, side),
                rounds=len(one.seconds),
                calls_per_round=one.steps_per_round,
                layout=one.first.layout,
                seconds=one.seconds,
            )
        )
    return found


def _ratios(sides: Mapping[str, Measured], side: str) -> dict[str, float | None]:
    if side == OURS:
        return dict.fromkeys(("ratio", "ratio_q1", "ratio_q3"))
    found = ratio(sides[OURS].seconds, sides[side].seconds)
    return {"ratio": found.median, "ratio_q1": found.lower, "ratio_q3": found.upper}


def geometric_means(lines: Sequence[Any]) -> list[tuple[str, str, float, int]]:
    """(mode or part, side, geometric mean of the ratios, how many), in the lines' order."""
    groups: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        if line.ratio is not None:
            what = line.mode if isinstance(line, NetworkLine) else line.part
            groups.setdefault((what, line.side), []).append(line.ratio)
    return [
        (*key, math.exp(statistics.fmean(map(math.log, values))), len(values))
        for key, values in groups.items()
    ]


def save(
    directory: pathlib.Path, name: str, lines: Sequence[Line], about: Mapping[str, Any]
) -> None:
    """Writes NAME.csv, and NAME.json with every measurement and the facts of the run.

    Args:
        directory: Exists.
        name: Of the files.
        lines: At least one, all of a kind.
        about: Machine, versions, commit, command.

    Raises:
        UserError: If it cannot be written.
    """
    buffer = io.StringIO()
    short = [{**line._asdict()} for line in lines]
    for one in short:
        del one["seconds"]
    writer = csv.DictWriter(buffer, list(short[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _rounded(value) for key, value in one.items()} for one in short)
    files.write_atomically(directory / f"{name}.csv", buffer.getvalue().encode())
    whole = {**about, "rows": [line._asdict() for line in lines]}
    files.write_atomically(directory / f"{name}.json", json.dumps(whole, indent=1).encode() + b"\n")


def _rounded(value: Any) -> Any:
    """Four digits: the measurements have no more, and the file is read by people."""
    return float(f"{value:.4g}") if isinstance(value, float) else value
