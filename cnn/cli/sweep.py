"""The text of `--sweep`: all combinations of values of the config."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from cnn.errors import UserError


def combinations(text: str) -> Iterator[dict[str, str]]:
    """Every combination of a text such as `optimizer.learning_rate=1e-3,3e-3;seed=0,1,2`.

    Values are parted by "|" where there is one in them, so that they may contain commas:
    `parallel.mesh=data:16|data:4,fsdp:4`.

    Raises:
        UserError: If the text is not of that form, or a key comes twice.
    """
    axes: dict[str, list[str]] = {}
    for part in text.split(";"):
        key, equals, values = part.strip().partition("=")
        key = key.removeprefix("config.")
        choices = [value.strip() for value in values.split("|" if "|" in values else ",")]
        if not key or not equals or not all(choices) or key in axes:
            raise UserError(
                f"cannot read {part.strip()!r} of the sweep; write KEY=VALUE,VALUE;KEY=VALUE, "
                "for instance 'optimizer.learning_rate=1e-3,3e-3;seed=0,1,2'"
            )
        axes[key] = choices
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))
