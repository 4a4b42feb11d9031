"""The kept table of facts; that it is what counting gives is part of the contract's tests."""

import pytest

from cnn import models
from tests.models.macs import CHANGED, GIGA_MACS, rounded_like


def test_the_table_has_every_network():
    assert [models.describe(name).name for name in models.names()] == list(models.names())


def test_the_references_are_of_known_networks():
    assert set(GIGA_MACS) <= set(models.names())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["lenet5", "googlenet", "mobilenet_v3_small", "vit_ti_16"])
def test_measuring_gives_what_is_kept(name):
    assert models.measure(name) == models.describe(name)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("name", "changes", "size", "expected"), CHANGED)
def test_macs_of_a_changed_network(name, changes, size, expected):
    info = models.measure(name, image_size=size, **changes)
    assert rounded_like(expected, info.macs) == expected
