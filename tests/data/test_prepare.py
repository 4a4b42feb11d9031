import importlib.util

import numpy as np
import pytest
import tensorflow_datasets
from tensorflow_datasets import core, features

from cnn.data.prepare import prepare
from cnn.data.tfds import tfds
from cnn.errors import UserError


class Stripes(core.GeneratorBasedBuilder):
    VERSION = core.Version("1.2.0")

    def _info(self):
        parts = {
            "image": features.Image(shape=(2, 2, 1), encoding_format="png"),
            "label": features.ClassLabel(num_classes=2),
        }
        return core.DatasetInfo(builder=self, features=features.FeaturesDict(parts))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        import io

        from PIL import Image

        for i in range(4):
            file = io.BytesIO()
            Image.fromarray(np.full((2, 2), i, np.uint8)).save(file, "PNG")
            file.seek(0)
            yield i, {"image": file, "label": i % 2}


class Manual(Stripes):
    def _split_generators(self, dl_manager):
        raise AssertionError("Download it\nby hand.")


@pytest.fixture
def as_if_tensorflow(monkeypatch):
    """These builders need none, but `prepare` asks whether it is installed."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *args: object() if name == "tensorflow" else real(name, *args),
    )
    tensorflow_datasets.disable_progress_bar()


def test_what_was_prepared_can_be_trained_on_and_stays(tmp_path, as_if_tensorflow) -> None:
    path = prepare("stripes", tmp_path)
    assert path == tmp_path / "stripes" / "1.2.0"
    train, held_out = tfds("stripes", tmp_path, "", "")
    assert sorted(int(train[i]["image"][0, 0, 0]) for i in range(4)) == [0, 1, 2, 3]
    assert len(held_out) == 4
    before = {file: file.stat().st_mtime_ns for file in path.iterdir()}
    assert prepare("stripes", tmp_path) == path
    assert {file: file.stat().st_mtime_ns for file in path.iterdir()} == before


def test_what_was_prepared_in_another_format_is_not_passed_off(tmp_path, as_if_tensorflow) -> None:
    info = prepare("stripes", tmp_path) / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match=r"cannot prepare 'stripes'.*array_record"):
        prepare("stripes", tmp_path)


def test_without_tensorflow_it_says_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[prepare\]'"):
        prepare("stripes", tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unknown_data_set_has_its_nearest_match(tmp_path, as_if_tensorflow) -> None:
    with pytest.raises(UserError, match="did you mean 'cifar10'"):
        prepare("cifr10", tmp_path)


def test_what_the_data_set_says_is_passed_on_in_one_line(tmp_path, as_if_tensorflow) -> None:
    with pytest.raises(UserError, match=r"^cannot prepare 'manual': Download it by hand\.$"):
        prepare("manual", tmp_path)
