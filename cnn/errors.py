"""Errors that a user can cause and mend; this file imports nothing heavy."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """One line for the user: what was wrong, what was got, what is known, the likely fix.

    The commands print it without a traceback and exit with code 2.
    """


def unknown(kind: str, got: object, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a table, with its nearest match in whatever case.

    Args:
        kind: What the name names, for instance "model" or "optimizer".
        got: What the user gave; from a config it may be no string at all.
        known: The names that would have worked; the first 40 of them are shown.
    """
    names = sorted(known)
    by_lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(got).lower(), by_lower, n=1, cutoff=0.5)
    hint = f"; did you mean {by_lower[near[0]]!r}?" if near else ""
    shown = ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")
    return UserError(f"unknown {kind} {got!r}{hint} (known: {shown or 'none'})")


def check_not_negative(section: str, **values: int | float) -> None:
    """Raises a UserError for the first value of a config's section that is negative or NaN."""
    for name, value in values.items():
        # Turned round, so that NaN is refused too.
        if not value >= 0:
            raise UserError(f"{section}.{name} must be at least 0, got {value}")
