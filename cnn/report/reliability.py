"""Reliability diagrams: accuracy over confidence, and how many predictions there are."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from cnn.report import figures
from cnn.report.measurement import Table

COLUMNS = ("from", "to", "examples", "confidence", "accuracy")
"""By which a table is known to be a diagram."""


def is_diagram(table: Table) -> bool:
    """Whether a table's rows are bins of confidence."""
    return table.columns == COLUMNS


def diagrams(tables: Sequence[Table]) -> list[figures.Curve]:
    """A figure for each table of bins.

    On the diagonal a model is as sure as it is right; below it is too sure. The bars at the bottom
    are the shares of predictions.
    """
    return [_diagram(table) for table in tables if is_diagram(table)]


def _diagram(table: Table) -> figures.Curve:
    def draw(axes: Axes) -> None:
        total = sum(count for _, _, count, _, _ in table.rows)
        axes.plot([0, 1], [0, 1], color=figures.GRID, linewidth=4, zorder=1)
        for low, high, count, _, _ in table.rows:
            share = count / total
            axes.bar(
                low, share, high - low, align="edge", color=figures.COLOURS[6], alpha=0.35, zorder=1
            )
        known = [(sure, right) for *_, count, sure, right in table.rows if count]
        sure, right = zip(*known, strict=True)
        axes.plot(sure, right, color=figures.COLOURS[0], marker="o", markersize=3.5, linewidth=1.2)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0))

    return figures.Curve(table.title, figures.page_svg(draw, table.title))
