import jax
import pytest

from cnn.errors import UserError
from cnn.optim import paths
from tests.optim.small import tree


def numbers(*texts):
    ones = jax.tree.map(lambda _: 1.0, tree())
    found = paths.by_path(paths.read_rules("x.factors", texts), tree(), ones)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): value
        for path, value in jax.tree_util.tree_flatten_with_path(found)[0]
    }


def test_the_first_rule_that_matches_the_end_of_a_path_counts():
    found = numbers("norm/bias=64", "bias=2", "a=b|scale=0.5", "head/.*=0")
    assert found == {
        "body/kernel": 1.0,
        "body/bias": 2.0,
        "norm/scale": 0.5,
        "norm/bias": 64.0,
        "embed/embedding": 1.0,
        "head/logits/kernel": 0.0,
        "head/logits/bias": 2.0,
    }
    assert numbers("ody=3") == numbers()


@pytest.mark.parametrize("text", ["bias", "=3", "bias=", "bias=x", "(=3", "bias=-1", "bias=nan"])
def test_what_is_no_rule_is_one_clear_line(text):
    with pytest.raises(UserError, match=r"x\.factors: .* is no rule; one is REGEX=NUMBER"):
        paths.read_rules("x.factors", (text,))


def test_a_rule_for_no_parameter_is_a_mistake():
    rules = paths.read_rules("x.factors", ("norm/bias=1", "norm/gain=2"))
    with pytest.raises(UserError, match=r"x\.factors: 'norm/gain' matches the end of no param"):
        paths.check_matched("x.factors", rules, tree())
    paths.check_matched("x.factors", rules[:1], tree())
