"""Five sentences on a comparison, made from its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnn.report import text

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]
SIGNIFICANT = 0.05


def summary(tables: Tables, budget: Mapping[str, Any]) -> list[str]:
    """What the numbers say: the best; CNN against ViT; efficiency; robustness; sureness."""
    return [
        _best(tables, budget),
        _kinds(tables),
        _efficiency(tables),
        _robustness(tables),
        _sureness(tables),
    ]


def _ranked(tables: Tables) -> list[Row]:
    return sorted(tables["models"], key=lambda row: (-row["accuracy_mean"], row["model"]))


def _accuracy(row: Row) -> str:
    if row["accuracy_std"] is None:
        return text.percent(row["accuracy_mean"])
    return f"{100 * row['accuracy_mean']:.2f} ± {text.percent(row['accuracy_std'])}"


def _best(tables: Tables, budget: Mapping[str, Any]) -> str:
    ranked = _ranked(tables)
    best, seeds = ranked[0], ranked[0]["seeds"]
    start = (
        f"With {_amount(budget)} for each training and {seeds} seed{'s' * (seeds > 1)}, "
        f"{best['model']} is the most accurate of {len(ranked)} with {_accuracy(best)}"
    )
    if best["accuracy_low"] is not None:
        low, high = best["accuracy_low"], best["accuracy_high"]
        shown = f"{100 * max(low, 0.0):.2f} to {text.percent(min(high, 1.0))}"
        start += f" (95{text.NBSP}% interval over seeds {shown})"
    if len(ranked) > 1:
        start += f", {ranked[-1]['model']} the least with {_accuracy(ranked[-1])}"
    return f"{start}."


def _amount(budget: Mapping[str, Any]) -> str:
    amount = budget["amount"]
    shown = f"{amount:,.0f}" if 1 <= amount < 1e7 else f"{amount:.3g}"
    return f"{shown} {'MACs' if budget['kind'] == 'macs' else budget['kind']}"


def _kinds(tables: Tables) -> str:
    """The best CNN against the best ViT; where there are not both, the best two."""
    ranked = _ranked(tables)
    if len(ranked) < 2:
        return "There is one model, so nothing is tested."
    best = {row["kind"]: row for row in reversed(ranked)}
    both = "CNN" in best and "ViT" in best
    left, right = (best["CNN"], best["ViT"]) if both else ranked[:2]
    if left["accuracy_mean"] < right["accuracy_mean"]:
        left, right = right, left
    pair, sign = _pair(tables, left["model"], right["model"])
    of = "the best CNN and the best ViT" if both else "the best two"
    points = 100 * sign * pair["difference_mean"]
    sentence = (
        f"Of {of}, {left['model']} is {points:.2f} points more accurate than {right['model']}, "
        f"which {_verdict(pair['mcnemar_p_holm'])} by McNemar's test on their errors "
        f"(p{text.NBSP}{_p(pair['mcnemar_p_holm'])} after Holm's correction)"
    )
    if pair["t_p"] is None:
        return f"{sentence}; seeds are too few, or too equal, for a paired t-test."
    p = pair["t_p_holm"]
    return f"{sentence} and {_verdict(p)} by a paired t-test over seeds (p{text.NBSP}{_p(p)})."


def _verdict(p: float) -> str:
    return "is more than chance" if p < SIGNIFICANT else "may be chance"


def _p(p: float) -> str:
    return f"<{text.NBSP}0.001" if p < 0.001 else f"={text.NBSP}{p:.3f}"


def _pair(tables: Tables, left: str, right: str) -> tuple[Row, int]:
    """The pair's row and 1, or -1 where it is the other way round."""
    for row in tables["pairs"]:
        if (row["left"], row["right"]) == (left, right):
            return row, 1
        if (row["left"], row["right"]) == (right, left):
            return row, -1
    raise KeyError((left, right))


def _efficiency(tables: Tables) -> str:
    """Of data where shares of it were trained on, else of arithmetic."""
    rows = tables["efficiency"]
    least = min(row["fraction"] for row in rows)
    if least < 1:
        few = sorted(
            (row for row in rows if row["fraction"] == least), key=lambda r: -r["accuracy_mean"]
        )
        return (
            f"From {few[0]['num_train']:,} examples, {100 * least:g}{text.NBSP}% of the training "
            f"set, {few[0]['model']} learns most ({_accuracy(few[0])}) and "
            f"{few[-1]['model']} least ({_accuracy(few[-1])})."
        )
    front = [row for row in tables["pareto"] if row["cost"] == "macs" and row["on_front"]]
    front.sort(key=lambda row: row["amount"])
    shown = ", ".join(
        f"{row['model']} ({text.quantity(row['amount'])} MACs an image, {_accuracy(row)})"
        for row in front
    )
    others = len(tables["models"]) - len(front)
    verb = "is" if others == 1 else "are"
    return (
        f"By arithmetic, {others} of {len(tables['models'])} models {verb} no better than one that "
        f"takes less; the rest, from the cheapest on: {shown}."
    )


def _robustness(tables: Tables) -> str:
    """The best and the worst model under the strongest change of each kind."""
    strongest: dict[str, list[Row]] = {}
    for row in sorted(tables["robustness"], key=lambda row: row["amount"]):
        if row["accuracy_mean"] is None or row["condition"] == "size":
            continue
        known = strongest.setdefault(row["condition"], [])
        if known and known[0]["amount"] < row["amount"]:
            known.clear()
        known.append(row)
    if not strongest:
        return "No changed images were tried."
    parts = []
    for kind, rows in strongest.items():
        rows.sort(key=lambda row: (-row["accuracy_mean"], row["model"]))
        part = f"{_condition(kind, rows[0]['amount'])} {_rounded(rows[0])}"
        parts.append(part + (f", least {_rounded(rows[-1])}" if len(rows) > 1 else ""))
    return f"The most accurate on changed images: {'; '.join(parts)}."


def _rounded(row: Row) -> str:
    return f"{row['model']} ({text.percent(row['accuracy_mean'], decimals=1)})"


def _condition(kind: str, amount: float) -> str:
    return {
        "shift": f"under a shift of {amount:g}{text.NBSP}px",
        "rotation": f"under a rotation of {amount:g}°",
        "noise": f"with noise of deviation {amount:g}",
        "blur": f"with a blur of {amount:g}{text.NBSP}px",
    }[kind]


def _sureness(tables: Tables) -> str:
    models = sorted(tables["models"], key=lambda row: (row["ece_mean"], row["model"]))
    first = (
        f"{models[0]['model']} is calibrated best (expected calibration error "
        f"{text.percent(models[0]['ece_mean'])})"
    )
    if len(models) < 2:
        return f"{first}."
    first += f" and {models[-1]['model']} worst ({text.percent(models[-1]['ece_mean'])})"
    known = [row for row in tables["pairs"] if row["error_kappa"] is not None]
    if not known:
        return f"{first}."
    most = max(known, key=lambda row: row["error_kappa"])
    return (
        f"{first}, and the errors most alike are those of {most['left']} and {most['right']} "
        f"(kappa {most['error_kappa']:.2f})."
    )
