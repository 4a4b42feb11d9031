import pytest

from configs import base


@pytest.mark.parametrize(
    ("rate", "batch_size", "options", "expected"),
    [
        (0.1, 8192, {}, 3.2),  # Goyal et al. 2017, table 1
        (0.1, 256, {}, 0.1),
        (5e-4, 1024, {"of_batch_size": 512}, 1e-3),  # DeiT, table 9
        (4e-3, 1024, {"of_batch_size": 256, "rule": "sqrt"}, 8e-3),
        (0.1, 64, {"rule": "sqrt"}, 0.05),
    ],
)
def test_rates_by_batch_size(rate, batch_size, options, expected):
    assert base.scaled_rate(rate, batch_size, **options) == pytest.approx(expected)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="rule must be linear or sqrt, got 'root'"):
        base.scaled_rate(0.1, 64, rule="root")
