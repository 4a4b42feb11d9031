"""Figures of a comparison: each from the rows of one table, which are its data."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, PercentFormatter

from cnn.report import figures

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]
MARKS = {"CNN": "o", "ViT": "^", "MLP": "s"}
COSTS = {
    "macs": "multiply-accumulates of an image",
    "parameters": "parameters",
    "images": "training images",
    "train_macs": "multiply-accumulates of a training",
    "step_bytes": "memory of a training step (bytes)",
    "seconds": "seconds of a training",
}
CONDITIONS = {
    "shift": "shift (pixels)",
    "rotation": "rotation (degrees)",
    "noise": "noise (deviation, white is 1)",
    "blur": "blur (deviation in pixels)",
    "size": "size of the images (pixels)",
}


class Figure(NamedTuple):
    """A figure of the page: `rows` are what it was drawn from; `name` is that of their CSV file."""

    name: str
    title: str
    svg: str
    rows: Sequence[Row]


class Style(NamedTuple):
    """How a model looks in every figure."""

    colour: str
    mark: str
    dashes: str


def styles(models: Sequence[Row]) -> dict[str, Style]:
    """By name: a colour each while there are enough, then other dashes; the mark is the kind's."""
    looks = itertools.cycle(itertools.product(("-", "--", ":"), figures.COLOURS))
    return {
        row["model"]: Style(colour, MARKS[row["kind"]], dashes)
        for row, (dashes, colour) in zip(models, looks, strict=False)
    }


def learning_curves(tables: Tables) -> list[Figure]:
    """Accuracy over images and over arithmetic."""
    return [
        _figure(
            f"curves_{key}",
            f"accuracy over {COSTS[key]}",
            tables["curves"],
            lambda axes, key=key: _curves(axes, tables, key),
        )
        for key in ("images", "train_macs")
        if tables["curves"]
    ]


def _curves(axes: Axes, tables: Tables, key: str) -> None:
    for model, rows in _by_model(tables["curves"]):
        _line(axes, tables, model, [row[key] for row in rows], rows, marked=False)
    _finish(axes, COSTS[key])
    if key == "train_macs":
        axes.set_xscale("log")
    _quantities(axes)


def trade_offs(tables: Tables) -> list[Figure]:
    """Accuracy over each cost; a line joins the models that no other beats."""
    drawn = []
    for cost, title in COSTS.items():
        rows = [row for row in tables["pareto"] if row["cost"] == cost]
        # Where all cost the same there is nothing to trade.
        if len({row["amount"] for row in rows}) > 1:
            name = f"pareto_{cost}"
            drawn.append(
                _figure(
                    name,
                    f"accuracy over {title}",
                    rows,
                    lambda axes, rows=rows, title=title: _pareto(axes, tables, rows, title),
                )
            )
    return drawn


def _pareto(axes: Axes, tables: Tables, rows: Sequence[Row], title: str) -> None:
    looks = styles(tables["models"])
    front = sorted((row["amount"], row["accuracy_mean"]) for row in rows if row["on_front"])
    axes.plot(*zip(*front, strict=True), color=figures.GRID, linewidth=4, zorder=1)
    for row in rows:
        look = looks[row["model"]]
        axes.errorbar(
            row["amount"],
            row["accuracy_mean"],
            yerr=row["accuracy_std"] or 0.0,
            color=look.colour,
            marker=look.mark,
            markersize=6,
            linestyle="none",
            label=f"{row['model']} ({row['kind']})",
        )
    axes.set_xscale("log")
    _finish(axes, title)
    _quantities(axes)


def efficiency(tables: Tables) -> list[Figure]:
    """Accuracy over the number of examples, where shares of the training set were trained on."""
    rows = tables["efficiency"]
    if len({row["fraction"] for row in rows}) < 2:
        return []

    def draw(axes: Axes) -> None:
        for model, own in _by_model(rows):
            _line(axes, tables, model, [row["num_train"] for row in own], own)
        axes.set_xscale("log")
        _finish(axes, "training examples")
        _quantities(axes)

    return [_figure("efficiency", "accuracy over training examples", rows, draw)]


def robustness(tables: Tables) -> list[Figure]:
    """Accuracy over the strength of each change, from none on."""
    drawn = []
    for condition, title in CONDITIONS.items():
        rows = [row for row in tables["robustness"] if row["condition"] == condition]
        lines = {
            model: sorted(known, key=lambda row: row["amount"])
            for model, own in _by_model(rows)
            # One that can take no other size has no line.
            if len(known := [row for row in own if row["accuracy_mean"] is not None]) > 1
        }
        if not lines:
            continue

        def draw(
            axes: Axes, lines: Mapping[str, Sequence[Row]] = lines, title: str = title
        ) -> None:
            for model, known in lines.items():
                _line(axes, tables, model, [row["amount"] for row in known], known)
            _finish(axes, title)
            ticks = sorted({row["amount"] for known in lines.values() for row in known})
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])

        name = f"robustness_{condition}"
        drawn.append(_figure(name, f"accuracy over {title}", rows, draw))
    return drawn


def calibration(tables: Tables) -> list[Figure]:
    """Accuracy over confidence; on the diagonal a model is as sure as it is right."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=figures.GRID, linewidth=4, zorder=1)
        looks = styles(tables["models"])
        for model, rows in _by_model(tables["calibration"]):
            known = [row for row in rows if row["count"]]
            look = looks[model]
            axes.plot(
                [row["confidence"] for row in known],
                [row["accuracy"] for row in known],
                color=look.colour,
                linestyle=look.dashes,
                marker=look.mark,
                markersize=3.5,
                linewidth=1.2,
                label=model,
            )
        _finish(axes, "confidence")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))

    rows = tables["calibration"]
    return [_figure("calibration", "accuracy over confidence", rows, draw)]


def _figure(name: str, title: str, rows: Sequence[Row], draw: Callable[[Axes], None]) -> Figure:
    return Figure(name, title, figures.page_svg(draw, title, height=3.0), rows)


def _by_model(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """In the order in which they come first."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["model"], []).append(row)
    return list(found.items())


def _line(
    axes: Axes,
    tables: Tables,
    model: str,
    x: Sequence[float | int],
    rows: Sequence[Row],
    *,
    marked: bool = True,
) -> None:
    """A mean and a band of one deviation to each side."""
    if not rows:
        return
    look = styles(tables["models"])[model]
    means = [row["accuracy_mean"] for row in rows]
    stds = [row["accuracy_std"] or 0.0 for row in rows]
    axes.plot(
        x,
        means,
        color=look.colour,
        linestyle=look.dashes,
        marker=look.mark if marked else None,
        markersize=4,
        linewidth=1.5,
        label=model,
    )
    low = [mean - std for mean, std in zip(means, stds, strict=True)]
    high = [mean + std for mean, std in zip(means, stds, strict=True)]
    axes.fill_between(x, low, high, color=look.colour, alpha=0.18, linewidth=0)


def _finish(axes: Axes, label: str) -> None:
    axes.set_xlabel(label)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(loc="best", fontsize=7.5)


def _quantities(axes: Axes) -> None:
    """Numbers with k, M, G: the formatters of a log scale write powers in TeX."""
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if axes.get_xscale() == "log":
        low, high = axes.get_xlim()
        few = high < 30 * low
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
