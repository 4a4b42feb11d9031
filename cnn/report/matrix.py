"""A confusion matrix as the cells of a coloured table, which scrolls and scales as text does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cnn.report.scores import Confusion


class Cell(NamedTuple):
    """One count: its `kind` ("right", "wrong" or "zero") has a colour of `strength` in [0, 1]."""

    text: str
    kind: str
    strength: float


def cells(confusion: Confusion) -> list[list[Cell]]:
    """The cells by row, a row for each true class.

    A right cell is coloured by its share of the row. A wrong one is coloured by its count beside
    the largest wrong one, since as a share of the row nearly all would look empty; the square root
    keeps single mistakes visible.
    """
    totals = np.maximum(confusion.sum(axis=1), 1)
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    most = max(int(wrong.max(initial=0)), 1)
    rows = []
    for true, counts in enumerate(confusion):
        row = []
        for predicted, count in enumerate(counts):
            if count == 0:
                row.append(Cell("", "zero", 0.0))
            elif true == predicted:
                row.append(Cell(f"{count:,}", "right", float(count / totals[true])))
            else:
                row.append(Cell(f"{count:,}", "wrong", float(np.sqrt(count / most))))
        rows.append(row)
    return rows
