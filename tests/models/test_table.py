"""The kept table of facts is what counting gives, and what others counted."""

import pytest

from cnn import models
from tests.models.macs import CHANGED, GIGA_MACS


@pytest.mark.parametrize("name", models.names())
def test_the_table_is_what_counting_gives(name):
    """If not: `cnn models --measure --csv > cnn/models/table.csv`, and look at the difference."""
    info = models.measure(name)
    assert models.describe(name) == info
    if name in GIGA_MACS:
        assert rounded_like(GIGA_MACS[name], info.macs) == GIGA_MACS[name]


def test_the_references_are_of_known_networks():
    assert set(GIGA_MACS) <= set(models.names())


@pytest.mark.parametrize(("name", "changes", "size", "expected"), CHANGED)
def test_macs_of_a_changed_network(name, changes, size, expected):
    info = models.measure(name, image_size=size, **changes)
    assert rounded_like(expected, info.macs) == expected


def rounded_like(reference: str, macs: int) -> str:
    return f"{macs / 1e9:.{len(reference.partition('.')[2])}f}"
