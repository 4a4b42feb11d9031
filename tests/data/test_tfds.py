import io
import json
import os
import pathlib
import pickle
import subprocess
import sys

import cloudpickle
import numpy as np
import pytest
import tensorflow_datasets
from PIL import Image
from tensorflow_datasets import core, features

from cnn.data.pipeline import eval_batches
from cnn.data.tfds import tfds
from cnn.errors import UserError

COUNTS = {"train": 20, "test": 6}
FEW = {"train": 5}
BOTH = {"train": 5, "test": 2}


def png(level: int, channels: int) -> io.BytesIO:
    file = io.BytesIO()
    shape = (4, 5) if channels == 1 else (4, 5, channels)
    Image.fromarray(np.full(shape, level, np.uint8)).save(file, "PNG")
    file.seek(0)
    return file


class Dots(core.GeneratorBasedBuilder):
    """Images full of one level, which is ten times the label plus one for the test split."""

    VERSION = core.Version("1.0.0")
    FEATURES = features.FeaturesDict(
        {
            "image": features.Image(shape=(None, None, 3)),
            "label": features.ClassLabel(names=["circle", "square", "cross"]),
            "mask": features.Image(shape=(None, None, 1)),
        }
    )
    CHANNELS = 3
    SPLITS = COUNTS

    def _info(self):
        return core.DatasetInfo(
            builder=self, features=self.FEATURES, supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {
            split: self._examples(count, split == "test") for split, count in self.SPLITS.items()
        }

    def _generate_examples(self, count):
        raise NotImplementedError

    def _examples(self, count, extra):
        for i in range(count):
            yield i, self.example(i % 3, 10 * (i % 3) + extra)

    def example(self, label, level):
        return {"image": png(level, 3), "label": label, "mask": png(0, 1)}


class GrayDots(Dots):
    SPLITS = FEW
    FEATURES = features.FeaturesDict(
        {"image": features.Image(shape=(4, 5, 1)), "label": features.ClassLabel(num_classes=3)}
    )

    def example(self, label, level):
        return {"image": png(level, 1), "label": label}


class Unlabelled(GrayDots):
    SPLITS = BOTH

    def example(self, label, level):
        return {"image": png(level, 1), "label": -1 if level % 10 else label}


class Broken(GrayDots):
    SPLITS = BOTH

    def example(self, label, level):
        return {"image": io.BytesIO(png(level, 1).getvalue()[:-30]), "label": label}


class Numbers(Dots):
    FEATURES = features.FeaturesDict({"image": features.Image(shape=(4, 5, 1)), "label": np.int64})

    def _info(self):
        return core.DatasetInfo(builder=self, features=self.FEATURES)

    def example(self, label, level):
        return {"image": png(level, 1), "label": label}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    tensorflow_datasets.disable_progress_bar()
    for builder in (Dots, GrayDots, Unlabelled, Broken, Numbers):
        builder(data_dir=data_dir, file_format="array_record").download_and_prepare()
    return data_dir


def test_examples_are_decoded_with_their_labels_and_class_names(prepared) -> None:
    train, held_out = tfds("dots", prepared, "", "")
    assert (len(train), len(held_out)) == (20, 6)
    assert train.info.class_names == ("circle", "square", "cross")
    for source, extra in ((train, 0), (held_out, 1)):
        labels = []
        for i in range(len(source)):
            example = source[i]
            want = np.full((4, 5, 3), 10 * example["label"] + extra)
            np.testing.assert_array_equal(example["image"], want)
            labels.append(example["label"])
        assert sorted(labels) == sorted(i % 3 for i in range(len(source)))


def test_a_copy_for_another_process_reads_the_same(prepared) -> None:
    train, _ = tfds("dots", prepared, "", "")
    want = train[7]
    copy = pickle.loads(cloudpickle.dumps(train))
    np.testing.assert_array_equal(copy[7]["image"], want["image"])


def test_splits_may_be_parts(prepared) -> None:
    train, held_out = tfds("dots:1.0.0", prepared, "train[:90%]", "train[90%:]")
    whole, _ = tfds("dots", prepared, "train", "test")
    labels = [s[i]["label"] for s in (train, held_out) for i in range(len(s))]
    assert (len(train), len(held_out)) == (18, 2)
    assert labels == [whole[i]["label"] for i in range(20)]


def test_threads_read_the_same(prepared) -> None:
    train, _ = tfds("dots", prepared, "", "")
    want, got = (
        list(eval_batches(train, lambda x: x.astype(np.float32), batch_size=1, num_threads=n))
        for n in (0, 8)
    )
    for a, b in zip(want, got, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["label"], b["label"])


def test_gray_images_stay_gray(prepared) -> None:
    train, _ = tfds("gray_dots", prepared, "train[:3]", "train[3:]")
    assert train[0]["image"].shape == (4, 5, 1)
    assert train.info.class_names == ("0", "1", "2")


def test_neither_tensorflow_nor_jax_is_imported(prepared, tmp_path) -> None:
    # Even if it is installed: here it would end the process.
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("import os; os._exit(66)")
    code = (
        "import sys; from cnn.data.tfds import tfds\n"
        f"train, _ = tfds('dots', {str(prepared)!r}, 'train[:50%]', '')\n"
        "print(len(train), train[3]['image'].shape, 'jax' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "10 (4, 5, 3) False"), ran.stderr


def test_what_is_not_prepared_says_how_to(prepared, monkeypatch) -> None:
    with pytest.raises(UserError, match=rf"run: cnn prepare cifar10 --data_dir={prepared}$"):
        tfds("cifar10", prepared, "", "")
    with pytest.raises(UserError, match=rf"run: cnn prepare dots:2\.0\.0 --data_dir={prepared}$"):
        tfds("dots:2.0.0", prepared, "", "")
    monkeypatch.setattr(core.utils.file_utils.constants, "DATA_DIR", str(prepared / "none"))
    with pytest.raises(UserError, match=r"run: cnn prepare mnist$"):
        tfds("mnist", "", "", "")


def test_the_default_folder_is_that_of_tfds(prepared, monkeypatch) -> None:
    monkeypatch.setattr(core.utils.file_utils.constants, "DATA_DIR", str(prepared))
    assert len(tfds("dots", "", "", "").train) == 20


def test_another_format_is_named_with_the_fix(prepared, tmp_path) -> None:
    target = tmp_path / "dots" / "1.0.0"
    target.parent.mkdir()
    target.symlink_to(pathlib.Path(prepared) / "dots" / "1.0.0")
    copy = tmp_path / "copy" / "dots" / "1.0.0"
    copy.mkdir(parents=True)
    for path in target.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    info = json.loads((copy / "dataset_info.json").read_text())
    info["fileFormat"] = "tfrecord"
    (copy / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(
        UserError, match=r"dots is stored as tfrecord in .*; prepare it as array_re"
    ):
        tfds("dots", tmp_path / "copy", "", "")


def test_errors_of_names_and_splits(prepared) -> None:
    with pytest.raises(UserError, match=r"needs data\.name"):
        tfds("", prepared, "", "")
    with pytest.raises(UserError, match="cannot open the data set 'no such!'"):
        tfds("no such!", prepared, "", "")
    with pytest.raises(UserError, match=r"no split 'tset' in dots/1\.0\.0: Unknown split 'tset'"):
        tfds("dots", prepared, "", "tset")
    with pytest.raises(UserError, match=r"no split 'train\[:' in") as caught:
        tfds("dots", prepared, "train[:", "")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"gray_dots has no evaluation split \(known: train\)"):
        tfds("gray_dots", prepared, "", "")
    with pytest.raises(UserError, match=r"no classification .*\(known: .*label: Tensor"):
        tfds("numbers", prepared, "", "")


def test_a_split_without_labels_and_a_corrupt_image_are_named_when_read(prepared) -> None:
    train, held_out = tfds("unlabelled", prepared, "", "")
    train[0]
    with pytest.raises(UserError, match=r"unlabelled/1\.0\.0 test, example 1 has the label -1"):
        held_out[1]
    train, _ = tfds("broken", prepared, "", "")
    with pytest.raises(UserError, match=r"cannot read broken/1\.0\.0 train, example 2: "):
        train[2]
