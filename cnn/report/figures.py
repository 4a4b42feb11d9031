"""Curves as SVG for a page: the same bytes for the same numbers, colours that follow the page."""

from __future__ import annotations

import html
import io
import itertools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator

from cnn.report.history import Series

MAX_POINTS = 400

# Stand-ins, replaced in the SVG by what the page's style says for light and dark.
_INK, GRID = "#1f2934", "#d4dae2"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07d00", "#6c5fc7", "#5b6673")
_PAGE_COLOURS = {_INK: "currentColor", GRID: "var(--line)"} | {
    colour: f"var(--curve-{number})" for number, colour in enumerate(COLOURS, start=1)
}
_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 9.0,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    "path.simplify": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "cnn",
    "svg.id": None,
    "text.parse_math": False,
    "xtick.color": GRID,
    "xtick.labelcolor": _INK,
    "ytick.color": GRID,
    "ytick.labelcolor": _INK,
}


class Curve(NamedTuple):
    """A figure of one metric: its title, and `<svg>...</svg>` to be put into a page as it is."""

    title: str
    svg: str


def curves(found: Sequence[Series], *, steps_per_epoch: float | None) -> list[Curve]:
    """A figure for each metric, with one line a split.

    Args:
        found: The series, those of one metric next to each other.
        steps_per_epoch: For an axis of epochs above; None leaves it out.
    """
    drawn = []
    for metric, group in itertools.groupby(found, key=lambda one: one.metric):
        title = metric.replace("_", " ")
        lines = list(group)
        log_scale = _wants_log(metric, lines)
        label = f"{title} (log scale)" if log_scale else title
        drawn.append(Curve(label, _draw(lines, label, log_scale, steps_per_epoch)))
    return drawn


def thinned(one: Series, *, max_points: int = MAX_POINTS) -> Series:
    """At most `max_points` points: means of neighbours; the last point stays as it is.

    A NaN makes its mean a NaN, so that a gap stays visible.
    """
    count = len(one.steps)
    if count <= max_points:
        return one
    edges = np.linspace(0, count - 1, max_points).round().astype(int)[:-1]
    sizes = np.diff(np.append(edges, count - 1))
    values = np.add.reduceat(one.values[:-1], edges) / sizes
    steps = np.add.reduceat(one.steps[:-1], edges) // sizes
    return one._replace(
        steps=np.append(steps, one.steps[-1]), values=np.append(values, one.values[-1])
    )


def page_svg(draw: Callable[[Axes], None], label: str, *, height: float = 2.7) -> str:
    """`<svg>...</svg>` of one pair of axes, in the style and the colours of a page.

    Args:
        draw: Draws on the axes.
        label: What the figure shows, for those who cannot see it.
        height: Where the width is 4.
    """
    with mpl.rc_context():
        # The user's own matplotlibrc, or TeX in it, must not change the page.
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(4.0, height), layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        # Without a date, a program and a type no block of metadata with addresses is written.
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)
    return _for_page(buffer.getvalue(), label)


def _draw(
    lines: Sequence[Series], label: str, log_scale: bool, steps_per_epoch: float | None
) -> str:
    def draw(axes: Axes) -> None:
        for one, colour in zip(lines, itertools.cycle(COLOURS), strict=False):
            _plot(axes, thinned(one), colour)
        if log_scale:
            axes.set_yscale("log")
            # The formatters of the scale write powers in TeX, which text in an SVG is not.
            plain = FuncFormatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_major_formatter(plain)
            few = axes.get_ylim()[1] < 100 * axes.get_ylim()[0]
            axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0) if few else (1.0,)))
            axes.yaxis.set_minor_formatter(plain)
        axes.set_xlim(0, 1.03 * max(1, *(int(one.steps[-1]) for one in lines)))
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if steps_per_epoch:
            _add_epochs(axes, steps_per_epoch)
        if len(lines) > 1 or lines[0].split not in ("", "train"):
            axes.legend(loc="best")

    return page_svg(draw, f"{label} over the steps")


def _plot(axes: Axes, one: Series, colour: str) -> None:
    finite = np.where(np.isfinite(one.values), one.values, np.nan)
    # A measurement at a few steps shows where it was made; a line through every step does not.
    marked = one.split != "train" or len(one.steps) == 1
    axes.plot(
        one.steps,
        finite,
        color=colour,
        linewidth=1.5,
        marker="o" if marked and one.split and len(one.steps) <= 60 else None,
        markersize=3.5,
        label=one.split or one.metric,
    )


def _add_epochs(axes: Axes, steps_per_epoch: float) -> None:
    # Both ways, so that the axis follows the one below.
    epochs = axes.secondary_xaxis(
        "top",
        functions=(
            lambda step: np.divide(step, steps_per_epoch),
            lambda epoch: np.multiply(epoch, steps_per_epoch),
        ),
    )
    epochs.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    epochs.set_xlabel("epoch")
    epochs.spines["top"].set_visible(False)
    epochs.tick_params(length=0)


def _wants_log(metric: str, lines: Sequence[Series]) -> bool:
    """Losses that fall by more than an order of magnitude are unreadable on a linear scale."""
    values = np.concatenate([one.values for one in lines])
    values: Float[np.ndarray, " points"] = values[np.isfinite(values)]
    if "loss" not in metric or not len(values) or values.min() <= 0:
        return False
    return math.log10(values.max() / values.min()) > 1


def _for_page(document: str, label: str) -> str:
    svg = document[document.index("<svg") :].rstrip()
    head, _, body = svg.partition(">")
    # Inside HTML the parser knows the namespaces; the size is the page's affair.
    head = re.sub(r'\s(xmlns(:\w+)?|width|height|version)="[^"]*"', "", head)
    for stand_in, colour in _PAGE_COLOURS.items():
        body = body.replace(stand_in, colour)
    return f'{head} role="img" aria-label="{html.escape(label)}">{body}'
