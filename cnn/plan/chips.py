"""The chips there are, and topologies of them as a text: `v5e:4x4`, `v4:2x2x4`, `h100:8`."""

from __future__ import annotations

import functools
import math
import pathlib
import re
import tomllib
from typing import NamedTuple

from cnn.errors import UserError, unknown

EXAMPLE = "v5e:4x4"


class Chip(NamedTuple):
    """The constants of a chip, with their sources; see `chips.toml` for what each means."""

    name: str
    kind: str
    flops: float
    hbm_bytes: int
    hbm_bandwidth: float
    link_bandwidth: float
    chips_per_host: int
    usd_per_hour: float
    source: str
    price_note: str


class Topology(NamedTuple):
    """So many chips of a kind, in a grid."""

    chip: Chip
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

    @property
    def num_chips(self) -> int:
        """All of the grid."""
        return math.prod(self.shape)


@functools.cache
def chips() -> dict[str, Chip]:
    """All chips, by name."""
    text = (pathlib.Path(__file__).parent / "chips.toml").read_text()
    return {name: Chip(name, **fields) for name, fields in tomllib.loads(text).items()}


def parse(text: str) -> Topology:
    """The topology of a text.

    Args:
        text: `CHIP:SHAPE`; the shape of a TPU is its grid, of GPUs their number.

    Raises:
        UserError: For an unknown chip, or what is no shape.
    """
    name, _, shape = text.partition(":")
    if name.lower() not in chips():
        raise unknown("chip", name, chips())
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){0,2}", shape):
        raise UserError(
            f"no shape of chips in --topology={text!r}; write CHIP:SHAPE as in {EXAMPLE}, "
            "v5p:2x2x4 or h100:8"
        )
    return Topology(chips()[name.lower()], tuple(map(int, shape.split("x"))))
