"""A mean over repetitions, with its deviation and interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Spread(NamedTuple):
    """A mean over seeds, its standard deviation (n - 1), and a 95 % interval of the mean.

    The interval is Student's: it is about other seeds on the same examples, not about other
    examples. With one seed there is neither deviation nor interval: None.
    """

    num: int
    mean: float
    std: float | None
    low: float | None
    high: float | None


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    x = np.asarray(values, np.float64)
    mean = float(x.mean())
    if len(x) < 2:
        return Spread(len(x), mean, None, None, None)
    std = float(x.std(ddof=1))
    half = float(stats.t.ppf(0.975, len(x) - 1)) * std / math.sqrt(len(x))
    return Spread(len(x), mean, std, mean - half, mean + half)
