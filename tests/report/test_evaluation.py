import math

import numpy as np
import pytest

from cnn.errors import UserError
from cnn.report import evaluation


def example():
    rng = np.random.default_rng(0)
    mistakes = tuple(
        evaluation.Mistake(
            image=rng.integers(0, 256, shape, dtype=np.uint8),
            true="a <b>",
            predicted="ü",
            probability=0.1 + 0.2,
            index=index,
        )
        for index, shape in enumerate([(28, 28, 1), (5, 7, 3)])
    )
    return evaluation.Evaluation(
        metrics={"accuracy": 1 / 3, "loss": math.nan},
        step=1240,
        num_examples=7,
        class_names=("a <b>", "ü", "empty"),
        confusion=np.array([[3, 1, 0], [2, 1, 0], [0, 0, 0]]),
        mistakes=mistakes,
    )


def test_what_is_saved_is_loaded(tmp_path):
    saved = example()._replace(views="flip")
    evaluation.save(tmp_path, saved)
    loaded = evaluation.load(tmp_path)
    assert loaded is not None
    assert loaded.metrics["accuracy"] == 1 / 3
    assert math.isnan(loaded.metrics["loss"])
    assert (loaded.step, loaded.num_examples, loaded.views) == (1240, 7, "flip")
    assert loaded.class_names == saved.class_names
    np.testing.assert_array_equal(loaded.confusion, saved.confusion)
    for left, right in zip(loaded.mistakes, saved.mistakes, strict=True):
        np.testing.assert_array_equal(left.image, right.image)
        assert (left.true, left.predicted) == (right.true, right.predicted)
        assert (left.probability, left.index) == (right.probability, right.index)


def test_a_thousand_classes_are_a_small_file(tmp_path):
    names = tuple(f"class {i}" for i in range(1000))
    confusion = np.eye(1000, dtype=np.int64) * 50
    big = example()._replace(class_names=names, confusion=confusion, mistakes=())
    assert evaluation.save(tmp_path, big).stat().st_size < 50_000
    loaded = evaluation.load(tmp_path)
    assert loaded is not None
    np.testing.assert_array_equal(loaded.confusion, confusion)


def test_a_record_older_than_views_is_of_the_centre(tmp_path):
    path = evaluation.save(tmp_path, example())
    path.write_text(path.read_text().replace('"views": "center", ', ""))
    assert "views" not in path.read_text()
    loaded = evaluation.load(tmp_path)
    assert loaded is not None
    assert loaded.views == "center"


def test_no_file_is_no_evaluation(tmp_path):
    assert evaluation.load(tmp_path) is None


@pytest.mark.parametrize(("old", "new"), [('"step"', '"stop"'), ("[0, 0, 3]", "[0, 9, 3]")])
def test_a_damaged_file_is_named(tmp_path, old, new):
    path = evaluation.save(tmp_path, example())
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))
    with pytest.raises(UserError, match=r"evaluation\.json is damaged"):
        evaluation.load(tmp_path)


def test_photographs_are_scaled_down(tmp_path):
    photo = evaluation.Mistake(np.zeros((900, 1800, 3), np.uint8), "a", "b", 0.5, 0)
    evaluation.save(tmp_path, example()._replace(mistakes=(photo,)))
    loaded = evaluation.load(tmp_path)
    assert loaded is not None
    assert loaded.mistakes[0].image.shape == (160, 320, 3)
