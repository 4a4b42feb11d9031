import pytest

from cnn.errors import UserError
from cnn.generators.doubling import smallest_map


def test_a_size_that_does_not_halve_is_one_clear_line():
    assert smallest_map(28, 2) == 7
    with pytest.raises(
        UserError, match=r"4 widths make images of a multiple of 16 pixels, not of 28"
    ):
        smallest_map(28, 4)
