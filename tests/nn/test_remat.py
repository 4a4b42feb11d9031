import flax.linen
import pytest

from cnn import nn
from cnn.errors import UserError


def test_an_unknown_mode_names_the_nearest():
    with pytest.raises(UserError, match=r"'blocks'.*block"):
        nn.remat("blocks", flax.linen.Dense(1))
