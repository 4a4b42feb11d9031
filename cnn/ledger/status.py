"""What the results of a row amount to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cnn.ledger.papers import Result, Row
from cnn.metrics.spread import Spread, spread

REPRODUCED, PARTIAL, NOT_RUN = "reproduced", "partial", "not run"
MEANING = (
    f"{REPRODUCED}: all seeds of the row ran, and their mean is at least the published number, or "
    "there are three seeds or more and the 95 % interval of the mean (Student's) reaches it. "
    f"{PARTIAL}: it ran, but too few seeds, or below that, or nobody published a number. "
    f"{NOT_RUN}: no result."
)
_MIN_SEEDS = 3
"""Two seeds have an interval that reaches nearly everything."""


class Status(NamedTuple):
    """A word of this file's, and the spread of the results; None where there are none."""

    word: str
    spread: Spread | None


def judge(row: Row, results: Sequence[Result]) -> Status:
    """The status of a row with these results, as `MEANING` says."""
    if not results:
        return Status(NOT_RUN, None)
    found = spread([result.value for result in results])
    if row.expected is None or {result.seed for result in results} != set(row.seeds):
        return Status(PARTIAL, found)
    reach = found.high if found.high is not None and found.num >= _MIN_SEEDS else found.mean
    return Status(REPRODUCED if reach >= row.expected else PARTIAL, found)
