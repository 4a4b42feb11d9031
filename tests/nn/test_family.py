import pytest

from cnn import nn
from cnn.errors import UserError


def test_stages():
    assert nn.stages((3, 4), (64, 128)) == [(0, 3, 64), (1, 4, 128)]
    with pytest.raises(UserError, match=r"\(3, 4\).*\(64,\)"):
        nn.stages((3, 4), (64,))


def test_choose():
    assert nn.choose("stem", "cifar", {"cifar": 3}) == 3
    with pytest.raises(UserError, match="unknown stem 'cifer'; did you mean 'cifar'"):
        nn.choose("stem", "cifer", {"cifar": 3})
