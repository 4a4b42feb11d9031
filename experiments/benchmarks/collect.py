"""Output directories of `cnn benchmark` -> results.csv, operations.csv, benchmark.svg beside this.

python experiments/benchmarks/collect.py runs/torch runs/flax runs/ops
"""

import csv
import json
import pathlib
import sys

from cnn.benchmark import figure

HERE = pathlib.Path(__file__).parent


def read(path: pathlib.Path) -> list[dict]:
    """The lines of a run, each with what it takes to run it again."""
    run = json.loads(path.read_text())
    machine, versions = run["machine"], run["versions"]
    about = {
        "machine": f"{machine['processor']}, {machine['cores']} cores; "
        f"{machine['num_devices']} {machine['device']}",
        "versions": " ".join(
            f"{name} {versions[name]}"
            for name in ("jax", "flax", "torch", "torchvision", "timm")
            if name in versions
        ),
        "commit": run["commit"],
        "dirty": run["dirty"],
        "started": run["started"],
        "command": " ".join(["cnn", *(x for x in run["command"][1:] if "--output" not in x)]),
    }
    return [{**row, **about} for row in run["rows"]]


def write(path: pathlib.Path, rows: list[dict]) -> None:
    """The lines without the single measurements, four digits each."""
    names = [name for name in rows[0] if name != "seconds"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {
                    name: float(f"{value:.4g}") if isinstance(value, float) else value
                    for name, value in row.items()
                }
            )


def main(directories: list[str]) -> None:
    """Reads the runs and writes the files of what there is."""
    for name in ("results", "operations"):
        paths = [pathlib.Path(directory) / f"{name}.json" for directory in directories]
        runs = [read(path) for path in paths if path.exists()]
        if not runs:
            continue
        write(HERE / f"{name}.csv", [row for run in runs for row in run])
        if name == "results":
            figure.save(runs[0], HERE / "benchmark.svg")


if __name__ == "__main__":
    main(sys.argv[1:])
