"""Images per second against multiply-accumulates, from the rows of results.json."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from cnn.report.files import writing

MARKS = {"CNN": "o", "ViT": "^", "MLP": "s"}
FILLS: dict[str, Any] = {"ours": "full", "torch": "none", "flax": "bottom"}
# Okabe and Ito's palette, which colour-blind readers can tell apart, then others.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000")
MORE = ("#8c564b", "#7f7f7f", "#bcbd22", "#9467bd", "#17becf", "#98df8a", "#c49c94")
TITLES = {"train": "training", "infer": "inference"}

Rows = Sequence[Mapping[str, Any]]


def save(rows: Rows, path: pathlib.Path) -> None:
    """Writes the figure as SVG: the same bytes for the same rows.

    Raises:
        UserError: If it cannot be written.
    """
    with mpl.rc_context({"svg.hashsalt": "cnn"}), writing(path):
        draw(rows).savefig(path, metadata={"Date": None})


def draw(rows: Rows) -> Figure:
    """A panel a mode: a colour a model, a mark a kind of network, a filling a side.

    A thin line joins the sides of a model.
    """
    modes = [mode for mode in TITLES if any(row["mode"] == mode for row in rows)]
    figure = Figure(figsize=(1.6 + 3.7 * len(modes), 4.2), layout="constrained")
    panels = figure.subplots(1, len(modes), squeeze=False)[0]
    colours = dict(zip(dict.fromkeys(row["model"] for row in rows), COLOURS + MORE, strict=False))
    for axes, mode in zip(panels, modes, strict=True):
        _panel(axes, [row for row in rows if row["mode"] == mode], colours)
        axes.set_title(TITLES[mode], loc="left", fontsize=10)
        axes.set_xlabel("multiply-accumulates of an image")
    panels[0].set_ylabel("images / s")
    figure.legend(
        handles=_legend(rows, colours), loc="outside right center", frameon=False, fontsize=8
    )
    return figure


def _panel(axes: Axes, rows: Rows, colours: Mapping[str, str]) -> None:
    axes.set(xscale="log", yscale="log")
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        colour = colours.get(model, "#7f7f7f")
        axes.plot(
            [row["macs"] for row in mine],
            [row["images_per_second"] for row in mine],
            color=colour,
            linewidth=0.7,
            alpha=0.5,
        )
        for row in mine:
            axes.plot(
                row["macs"],
                row["images_per_second"],
                color=colour,
                marker=MARKS[row["kind"]],
                fillstyle=FILLS[row["side"]],
                # One that is behind the other shows as a ring around it.
                markersize=6 if row["side"] == "ours" else 9,
                linestyle="none",
            )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(EngFormatter(sep=""))
        axis.set_minor_formatter(NullFormatter())
    axes.margins(0.12)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(rows: Rows, colours: Mapping[str, str]) -> list[Line2D]:
    handles = []
    for model in dict.fromkeys(row["model"] for row in rows):
        kind = next(row["kind"] for row in rows if row["model"] == model)
        colour = colours.get(model, "#7f7f7f")
        handles.append(Line2D([], [], color=colour, marker=MARKS[kind], ls="none", label=model))
    for side in FILLS:
        if any(row["side"] == side for row in rows):
            handles.append(
                Line2D(
                    [], [], color="0.3", marker="o", fillstyle=FILLS[side], ls="none", label=side
                )
            )
    return handles
