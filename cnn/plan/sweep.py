"""Plans of all combinations of topologies and values of the config, and the cheapest of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cnn.errors import UserError
from cnn.plan.plan import Plan

TOPOLOGY = "topology"


class Row(NamedTuple):
    """One combination: what was set, and its plan, or why there is none."""

    values: dict[str, str]
    plan: Plan | None
    error: str = ""


def combinations(text: str) -> Iterator[dict[str, str]]:
    """Every combination of a text such as `topology=v5e:4x4,v6e:4x4;loader.batch_size=2048,4096`.

    Values are parted by "|" where there is one in them, so that they may contain commas:
    `parallel.mesh=data:16|data:4,fsdp:4`.

    Raises:
        UserError: If the text is not of that form, or a key comes twice.
    """
    axes: dict[str, list[str]] = {}
    for part in text.split(";"):
        key, equals, values = part.strip().partition("=")
        choices = [value.strip() for value in values.split("|" if "|" in values else ",")]
        if not key or not equals or not all(choices) or key in axes:
            raise UserError(
                f"cannot read {part.strip()!r} of the sweep; write KEY=VALUE,VALUE;KEY=VALUE, "
                "for instance 'topology=v5e:4x4,v6e:4x4;loader.batch_size=2048,4096'"
            )
        axes[key.removeprefix("config.")] = choices
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


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
