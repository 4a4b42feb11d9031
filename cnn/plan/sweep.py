"""Plans of all combinations of topologies and values of the config, and the cheapest of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cnn.plan.plan import Plan

TOPOLOGY = "topology"


class Row(NamedTuple):
    """One combination: what was set, and its plan, or why there is none."""

    values: dict[str, str]
    plan: Plan | None
    error: str = ""


def cheapest(rows: Sequence[Row], deadline_hours: float | None) -> int | None:
    """Which row costs least of those that fit and end in time; without prices, the fastest."""

    def rank(index: int) -> tuple[bool, float, float]:
        plan = rows[index].plan
        assert plan is not None and plan.hours is not None
        return plan.cost_usd is None, plan.cost_usd or 0.0, plan.hours

    meeting = [index for index, row in enumerate(rows) if meets(row.plan, deadline_hours)]
    return min(meeting, key=rank, default=None)


def meets(plan: Plan | None, deadline_hours: float | None) -> bool:
    """Whether a plan is there, may fit, and ends in time; None is no deadline."""
    if plan is None or plan.fits is False or plan.hours is None:
        return False
    return deadline_hours is None or plan.hours <= deadline_hours
