"""The one line that a user gets for a wrong name."""

import subprocess
import sys

import pytest

from cnn.errors import UserError, check_not_negative, unknown

OPTIMIZERS = ("adamw", "adam", "sgd")


@pytest.mark.parametrize(
    ("got", "meant"), [("adamW", "adamw"), ("sdg", "sgd"), ("SGD", "sgd"), ("adm", "adam")]
)
def test_the_nearest_name_is_offered(got, meant):
    assert str(unknown("optimizer", got, OPTIMIZERS)) == (
        f"unknown optimizer {got!r}; did you mean {meant!r}? (known: adam, adamw, sgd)"
    )


def test_the_nearest_name_is_offered_as_it_is_written():
    assert "did you mean 'ConvNeXt'?" in str(unknown("model", "convnext", ["ConvNeXt", "ViT"]))


def test_a_name_that_is_near_none_gets_no_hint():
    assert str(unknown("optimizer", "xyz", OPTIMIZERS)) == (
        "unknown optimizer 'xyz' (known: adam, adamw, sgd)"
    )


@pytest.mark.parametrize("got", [5, None, ["sgd"], 0.1])
def test_what_is_no_string_is_shown_too(got):
    # A config says what it likes; a traceback of difflib would say nothing.
    assert str(unknown("optimizer", got, OPTIMIZERS)).startswith(f"unknown optimizer {got!r}")


def test_of_many_names_the_first_forty_are_shown_and_all_are_compared():
    names = [f"model{index:03}" for index in range(100)]
    message = str(unknown("model", "model_099", names))
    assert message.endswith("model039, ...)")
    assert "model040" not in message
    assert "did you mean 'model099'?" in message
    assert "..." not in str(unknown("model", "x", names[:40]))


def test_an_empty_table_is_said_to_be_empty():
    assert str(unknown("key", "a", [])) == "unknown key 'a' (known: none)"


def test_it_is_an_exception_of_one_line():
    error = unknown("key", "a\nb", ["c"])
    assert isinstance(error, UserError)
    assert not isinstance(error, ValueError)  # which the library raises for its own mistakes
    assert "\n" not in str(error)


def test_importing_it_starts_nothing_heavy():
    code = "import sys, cnn.errors; assert not {'jax', 'numpy', 'flax', 'optax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("-inf")])
def test_the_first_negative_number_is_named(bad):
    check_not_negative("optimizer", learning_rate=0.0, clip_norm=1.0)
    message = r"optimizer\.clip_norm must be at least 0, got "
    with pytest.raises(UserError, match=message):
        check_not_negative("optimizer", learning_rate=0.1, clip_norm=bad, other=-1.0)
