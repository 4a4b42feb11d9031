"""Plans of several models as tables: `plans.csv`, and weak scaling in `scaling.csv` and `.svg`.

    python experiments/plans/collect.py PLAN.json ...

The files are those that `cnn plan --json` writes. Weak scaling keeps the batch of a chip, so what a
chip computes and the arrays that are summed stay; a ring of n chips sends 2 (n - 1) / n of each.
Of arrays that depend on the batch (collective-permute) the same part of the batch goes.
"""

from __future__ import annotations

import csv
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

from cnn.plan import chips

HERE = pathlib.Path(__file__).parent
COLUMNS = (
    "model",
    "topology",
    "dtype",
    "num_chips",
    "num_hosts",
    "parameters",
    "batch_size",
    "argument_bytes",
    "temporary_bytes",
    "total_bytes",
    "hbm_bytes",
    "fits",
    "flops",
    "bytes_accessed",
    "sent_bytes",
    "compute_seconds",
    "memory_seconds",
    "interconnect_seconds",
    "bound_by",
    "images_per_second",
    "hours",
    "cost_usd",
)
SIZES = (4, 8, 16, 32, 64, 128, 256)


def main(paths: Sequence[str]) -> None:
    """Reads the plans and writes the tables beside this file."""
    plans = []
    for path in paths:
        found = json.loads(pathlib.Path(path).read_text())
        about = found["about"]
        versions = about["versions"]
        source = {
            "commit": about["commit"],
            "jax": versions["jax"],
            "libtpu": versions.get("libtpu", ""),
            "command": " ".join(word for word in about["command"] if "--json" not in word),
        }
        plans += [{**plan, **source} for plan in found["plans"] if plan.get("flops")]
    plans.sort(key=lambda plan: (plan["topology"], plan["model"]))
    _write("plans.csv", [*COLUMNS, "commit", "jax", "libtpu", "command"], plans)
    scaling = [row for plan in plans for row in _scaled(plan)]
    _write("scaling.csv", list(scaling[0]), scaling)
    _draw(scaling)


def _scaled(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The step of a plan on other numbers of chips of its kind."""
    chip = chips.parse(plan["topology"]).chip
    rows = []
    for size in SIZES:
        share = (size - 1) / size * plan["num_chips"] / (plan["num_chips"] - 1)
        sent = sum(
            one["sent_bytes"] * (1.0 if kind == "collective-permute" else share)
            for kind, one in plan["collectives"].items()
        )
        own = max(plan["compute_seconds"], plan["memory_seconds"])
        rows.append(
            {
                "model": plan["model"],
                "chip": chip.name,
                "num_chips": size,
                "batch_size": plan["batch_size"] // plan["num_chips"] * size,
                "sent_bytes": round(sent),
                "interconnect_seconds": sent / chip.link_bandwidth,
                "chip_seconds": own,
                # At best communication hides behind the rest, at worst nothing of it does.
                "efficiency_at_worst": own / (own + sent / chip.link_bandwidth),
                "compiled_for": plan["topology"],
            }
        )
    return rows


def _write(name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    with (HERE / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _draw(rows: Sequence[Mapping[str, Any]]) -> None:
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "plans"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    for line in dict.fromkeys((row["model"], row["chip"]) for row in rows):
        own = [row for row in rows if (row["model"], row["chip"]) == line]
        axes.plot(
            [row["num_chips"] for row in own],
            [100 * row["interconnect_seconds"] / row["chip_seconds"] for row in own],
            marker="o",
            label=" ".join(line),
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(SIZES, [str(size) for size in SIZES])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("chips, at the same batch a chip")
    axes.set_ylabel("interconnect time, % of the chip's own")
    axes.legend(frameon=False)
    figure.savefig(HERE / "scaling.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1:])
