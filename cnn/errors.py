"""Errors that a user can cause and mend; this file imports nothing heavy."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """One line for the user: what was wrong, what was got, what is known, the likely fix.

    The commands print it without a traceback and exit with code 2.
    """


def unknown(kind: str, got: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a table, with its nearest match.

    Args:
        kind: What the name names, for instance "model" or "optimizer".
        got: The name the user gave.
        known: The names that would have worked.
    """
    names = sorted(known)
    near = difflib.get_close_matches(got, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")
    return UserError(f"unknown {kind} {got!r}{hint} (known: {shown})")
