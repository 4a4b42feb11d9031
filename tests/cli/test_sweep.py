import pytest

from cnn.cli.sweep import combinations
from cnn.errors import UserError


def test_every_combination_is_there():
    found = list(combinations("topology=v5e:4x4,v6e:4x4; loader.batch_size=2048,4096"))
    assert found == [
        {"topology": "v5e:4x4", "loader.batch_size": "2048"},
        {"topology": "v5e:4x4", "loader.batch_size": "4096"},
        {"topology": "v6e:4x4", "loader.batch_size": "2048"},
        {"topology": "v6e:4x4", "loader.batch_size": "4096"},
    ]


def test_a_bar_parts_values_with_commas():
    found = list(combinations("config.parallel.mesh=data:16|data:4,fsdp:4"))
    assert found == [{"parallel.mesh": "data:16"}, {"parallel.mesh": "data:4,fsdp:4"}]


@pytest.mark.parametrize(
    "text", ["topology", "=1", "a=", "a=1,,2", "a=1;a=2", "a=1;config.a=2", ";"]
)
def test_what_is_no_sweep_is_refused(text):
    with pytest.raises(UserError, match="KEY=VALUE"):
        list(combinations(text))
