"""Numbers by the path of a parameter, as a user writes them: "norm[01]/bias=64"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jax

from cnn.core import Params
from cnn.errors import UserError

Rules = tuple[tuple[str, float], ...]
"""Regular expressions, each with its number."""


def read_rules(key: str, texts: Sequence[str]) -> Rules:
    """The rules "REGEX=NUMBER" of a list in a config.

    Args:
        key: Where they stand, for the error.
        texts: As the user wrote them.

    Raises:
        UserError: If one is no such rule, or its number is negative.
    """
    return tuple(_rule(key, text) for text in texts)


def by_path(rules: Rules, params: Params, others: Params) -> Params:
    """For each parameter the number of the first rule that matches the end of its path.

    Args:
        rules: A path is `backbone/group0/norm0/bias`.
        params: Of which only the paths count.
        others: The same tree with the number of each parameter that no rule matches.
    """

    def number(path: Any, _: Any, other: Any) -> Any:
        text = jax.tree_util.keystr(path, simple=True, separator="/")
        found = (value for pattern, value in rules if re.search(f"(?:{pattern})$", text))
        return next(found, other)

    return jax.tree_util.tree_map_with_path(number, params, others)


def check_matched(key: str, rules: Rules, params: Params) -> None:
    """Raises a UserError for the first rule that matches no parameter; most likely a typing error.

    Args:
        key: Where the rules stand.
        rules: The rules.
        params: Of the whole network.
    """
    paths = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]
    ]
    for pattern, _ in rules:
        if not any(re.search(f"(?:{pattern})$", path) for path in paths):
            raise UserError(
                f"{key}: {pattern!r} matches the end of no parameter's path (the first is "
                f"{paths[0]!r}, the last {paths[-1]!r})"
            )


def _rule(key: str, text: str) -> tuple[str, float]:
    pattern, _, number = text.rpartition("=")
    try:
        value = float(number)
        re.compile(pattern)
    except (ValueError, re.error):
        pattern, value = "", 0.0
    if not pattern or not value >= 0:
        raise UserError(
            f"{key}: {text!r} is no rule; one is REGEX=NUMBER with a number of at least 0, for "
            "instance 'norm/bias=64'"
        )
    return pattern, value
