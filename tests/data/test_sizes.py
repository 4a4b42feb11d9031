import pytest

from cnn import data
from cnn.data.sizes import PUBLISHED
from cnn.errors import UserError


def section(source, name="", train_split="", **synthetic):
    return {
        "source": source,
        "name": name,
        "train_split": train_split,
        "options": {"synthetic": {"num_train": 7, "num_classes": 3, **synthetic}},
    }


def test_published_sizes():
    assert data.published_size(section("tfds", "imagenet2012:5.1.0")) == (1_281_167, 1000)
    assert data.published_size(section("tfds", "imagenette/320px-v2", "train")) == (9_469, 10)
    assert data.published_size(section("synthetic")) == (7, 3)


def test_those_of_the_embedded_digits_are_what_is_opened():
    sources = data.open_sources(
        source="mnist5k",
        root="",
        name="",
        train_split="",
        eval_split="",
        eval_fraction=0.2,
        cache_mb=0,
        options={},
    )
    opened = len(sources.train), len(sources.train.info.class_names)
    assert PUBLISHED["mnist5k"] == opened == data.published_size(section("mnist5k"))


@pytest.mark.parametrize(
    "what", [("folder",), ("tfds", "my_own"), ("tfds", "mnist", "train[:90%]")], ids=str
)
def test_others_must_be_told(what):
    with pytest.raises(UserError, match="--num_train=N --num_classes=N"):
        data.published_size(section(*what))
