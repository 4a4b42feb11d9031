"""Run directories of `cnn train` -> results.csv, curves.csv and curves.svg beside this file.

python experiments/mnist5k/collect.py runs/lenet5-0 runs/lenet5-1 ...
"""

import csv
import json
import pathlib
import sys

from matplotlib.figure import Figure

HERE = pathlib.Path(__file__).parent
LABELS = {
    "lenet5": "LeNet-5",
    "lenet5_1998": "LeNet-5 of 1998",
    "resnet8_cifar": "ResNet-8",
    "convnext_pico": "ConvNeXt pico",
    "vit_ti_16": "ViT, 6 blocks of 96",
}
# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = dict(zip(LABELS, ("#0072b2", "#56b4e9", "#009e73", "#e69f00", "#cc79a7"), strict=True))


def read(directory: pathlib.Path) -> tuple[dict, list[dict]]:
    """The result of a run, and its evaluations."""
    config = json.loads((directory / "config.json").read_text())
    environment = json.loads((directory / "environment.json").read_text())
    evaluation = json.loads((directory / "evaluation.json").read_text())
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    steps_per_epoch = next(line["step"] / line["epoch"] for line in lines if "epoch" in line)
    result = {
        "model": config["model"]["name"],
        "seed": config["seed"],
        "accuracy": evaluation["metrics"]["accuracy"],
        "loss": round(evaluation["metrics"]["loss"], 5),
        "num_examples": evaluation["num_examples"],
        "steps": evaluation["step"],
        "epochs": round(evaluation["step"] / steps_per_epoch, 2),
        "train_seconds": round(sum(line.get("perf/seconds", 0.0) for line in lines), 1),
        "command": " ".join(environment["command"]),
        "commit": environment["commit"],
        "dirty": environment["dirty"],
        "hardware": f"{environment['cpus']} CPU cores",
        "jax": environment["versions"]["jax"],
    }
    curve = [
        {
            "model": result["model"],
            "seed": result["seed"],
            "epoch": round(line["step"] / steps_per_epoch, 3),
            "accuracy": line["eval/accuracy"],
        }
        for line in lines
        if "eval/accuracy" in line
    ]
    return result, curve


def draw(curves: list[dict]) -> Figure:
    """Test error by epoch, a line a model, a thin line a seed."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for model in LABELS:
        seeds = sorted({row["seed"] for row in curves if row["model"] == model})
        for seed in seeds:
            rows = [row for row in curves if (row["model"], row["seed"]) == (model, seed)]
            axes.plot(
                [row["epoch"] for row in rows],
                [100 * (1 - row["accuracy"]) for row in rows],
                color=COLOURS[model],
                linewidth=1.6 if seed == seeds[0] else 0.8,
                label=LABELS[model] if seed == seeds[0] else None,
            )
    axes.set(xlabel="epoch", ylabel="test error, %", yscale="log")
    axes.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def main(directories: list[str]) -> None:
    """Reads the runs and writes the three files."""
    results, curves = [], []
    for directory in directories:
        result, curve = read(pathlib.Path(directory))
        results.append(result)
        curves.extend(curve)
    for name, rows in (("results.csv", results), ("curves.csv", curves)):
        with (HERE / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    draw(curves).savefig(HERE / "curves.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1:])
