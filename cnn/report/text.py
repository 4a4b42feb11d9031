"""Numbers, durations and nested settings as a reader wants to see them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

DASH = "\N{EN DASH}"
NBSP = "\N{NO-BREAK SPACE}"


class Section(NamedTuple):
    """Settings that belong together; `rows` are (name, value), the names of nested ones dotted."""

    title: str
    rows: list[tuple[str, str]]


def number(value: float) -> str:
    """Four decimals, or three digits for what is too small or too large for that."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "\N{MINUS SIGN}∞"
    return f"{value:,.4f}" if 0.01 <= abs(value) < 1e5 else f"{value:.3g}"


def percent(share: float, *, decimals: int = 2) -> str:
    """A share in [0, 1] as per cent; a dash for NaN, which stands for "nothing to count"."""
    return DASH if math.isnan(share) else f"{100 * share:.{decimals}f}{NBSP}%"


def quantity(value: float | int) -> str:
    """Three digits and a word for the power: "425", "61.7 k", "416 k", "2.8 M", "1.2 G", "3 T"."""
    for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        # So that what rounds up to a thousand takes the next letter.
        if abs(value) >= 0.9995 * 10**power:
            return f"{value / 10**power:.3g}{NBSP}{letter}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Two units at most: "48.2 s", "12 min 5 s", "3 h 20 min", "2 d 4 h"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, rest_size, rest_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // rest_size} {rest_unit}"
    return f"{whole} s"


def sections(settings: Mapping[str, Any]) -> list[Section]:
    """Nested settings as tables: what stands alone first, untitled, then a section a mapping."""
    alone = {name: value for name, value in settings.items() if not _is_section(value)}
    found = [Section("", _rows(alone))] if alone else []
    return found + [
        Section(name, _rows(value)) for name, value in settings.items() if _is_section(value)
    ]


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value)


def _rows(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in settings.items():
        if _is_section(value):
            rows += _rows(value, f"{prefix}{name}.")
        else:
            shown = value if isinstance(value, str) and value else _json(value)
            rows.append((f"{prefix}{name}", shown))
    return rows


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
