import pytest

from cnn import ops
from cnn.ops.formulation import is_stock


def test_the_switch_holds_inside_only():
    assert not is_stock()
    with ops.stock():
        with ops.stock():
            assert is_stock()
        assert is_stock()
    assert not is_stock()


def test_an_error_inside_turns_it_off():
    with pytest.raises(ValueError, match="inside"), ops.stock():
        raise ValueError("inside")
    assert not is_stock()
