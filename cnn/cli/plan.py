"""What a training takes on chips that are not here: memory, time, cost. Before you pay.

    cnn plan --config=configs/imagenet/resnet50.py --topology=v5e:4x4
    cnn plan --config=configs/imagenet/deit.py:b --topology=h100:8 --price=2.5
    cnn plan --config=configs/imagenet/resnet50.py --sweep='topology=v5e:4x4,v6e:4x4'

The training step is compiled by the TPU's own compiler (pip install -e '.[tpu]'), from shapes: no
TPU and no data set are needed. One compilation takes minutes. For GPUs operations are counted and
nothing is compiled: bytes and memory are upper bounds then.

Times are rooflines: the largest of FLOPs by peak, bytes by memory bandwidth and bytes sent by link
bandwidth, as if all went on side by side. A real step takes longer. Where a batch does not fit, the
largest that does is looked for, which compiles a few more times.

Any value of the config can be set: --config.loader.batch_size=4096. A sweep takes the same keys,
and `topology`; values with commas in them are parted by "|": parallel.mesh=data:16|data:4,fsdp:4.

Exit codes: 0; 2 for a mistake; 3 if it does not fit, or if nothing in a sweep fits and is in time.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from cnn.errors import UserError

if TYPE_CHECKING:
    from cnn.plan.plan import Plan, Request
    from cnn.plan.sweep import Row

TAKES_CONFIG = True
DOES_NOT_FIT = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("--config", required=True, metavar="FILE.py", help="the experiment")
    parser.add_argument("--topology", metavar="CHIP:SHAPE", help="v5e:4x4, v5p:2x2x4, h100:8, ...")
    parser.add_argument("--sweep", metavar="TEXT", help="KEY=VALUE,VALUE;KEY=VALUE: all of them")
    parser.add_argument("--deadline_hours", type=float, metavar="H", help="what must be met")
    parser.add_argument("--price", type=float, metavar="USD", help="of a chip for an hour")
    parser.add_argument("--json", metavar="FILE", help="the plan, or a list of them, with versions")
    parser.add_argument("--num_train", type=int, default=0, metavar="N", help="training images")
    parser.add_argument("--num_classes", type=int, default=0, metavar="N", help="classes")
    parser.add_argument(
        "--no_search", action="store_true", help="do not look for the largest batch that fits"
    )


def run(args: argparse.Namespace) -> int:
    """Plans, prints, writes; 3 where it does not fit."""
    _check(args)
    from cnn.cli import config_file
    from cnn.cli.sweep import combinations
    from cnn.plan import chips, sweep

    points = list(combinations(args.sweep)) if args.sweep else [{}]
    texts = [values.get(sweep.TOPOLOGY, args.topology) for values in points]
    topologies = [chips.parse(text) for text in texts if text is not None]
    if len(topologies) < len(texts):
        raise UserError(f"say where: --topology={chips.EXAMPLE}, or topology=... in --sweep")
    configs = [config_file.read(args.config, args.overrides + _overrides(v)) for v in points]
    _start_jax()
    from cnn.plan import plan

    rows = []
    for values, topology, config in zip(points, topologies, configs, strict=True):
        request = plan.Request(
            topology,
            args.price,
            args.num_train,
            args.num_classes,
            search=not (args.no_search or args.sweep),
        )
        rows.append(_row(values, config, request, may_fail=bool(args.sweep)))
    return _report(args, rows)


def _check(args: argparse.Namespace) -> None:
    for name in ("deadline_hours", "price", "num_train", "num_classes"):
        value = getattr(args, name)
        if value is not None and not value >= 0:
            raise UserError(f"--{name} must be at least 0, got {value}")


def _overrides(values: dict[str, str]) -> list[str]:
    return [f"--config.{key}={value}" for key, value in values.items() if key != "topology"]


def _start_jax() -> None:
    """Keeps JAX to this machine's CPU: what is compiled for is only described."""
    import jax

    jax.config.update("jax_platforms", "cpu")


def _row(values: dict[str, str], config: dict[str, Any], request: Request, may_fail: bool) -> Row:
    from cnn.plan import plan, sweep

    try:
        return sweep.Row(values, plan.make_plan(config, request, _note))
    except UserError as error:
        if not may_fail:
            raise
        return sweep.Row(values, None, str(error))


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _report(args: argparse.Namespace, rows: list[Row]) -> int:
    from cnn.cli import workdir
    from cnn.plan import sweep, table
    from cnn.report import files

    best = sweep.cheapest(rows, args.deadline_hours)
    if args.sweep:
        table.show_sweep(rows, best)
    elif rows[0].plan is not None:
        table.show(rows[0].plan, args.deadline_hours)
    if args.json:
        about = workdir.program()
        about["versions"] |= workdir.versions(("libtpu",))
        path = pathlib.Path(args.json)
        with files.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        found = [_as_json(row, index == best) for index, row in enumerate(rows)]
        text = json.dumps({"about": about, "plans": found}, indent=1)
        files.write_atomically(path, text.encode() + b"\n")
    return _exit_code(args, rows, best)


def _as_json(row: Row, is_best: bool) -> dict[str, Any]:
    plan: Plan | None = row.plan
    found = plan.as_json() if plan is not None else {"error": row.error}
    return {"set": row.values, "is_cheapest": is_best, **found}


def _exit_code(args: argparse.Namespace, rows: list[Row], best: int | None) -> int:
    if args.sweep:
        return DOES_NOT_FIT if best is None else 0
    plan = rows[0].plan
    return DOES_NOT_FIT if plan is not None and plan.fits is False else 0
