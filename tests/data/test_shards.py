import io
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from cnn.data.pipeline import eval_batches
from cnn.data.shards import shards
from cnn.errors import UserError


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


def write(path, members) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def examples(start: int, count: int):
    for i in range(start, start + count):
        yield f"set/{i:05}.png", png(i)
        yield f"set/{i:05}.cls", str(i % 3).encode()
        yield f"set/{i:05}.json", b"{}"


@pytest.fixture
def root(tmp_path):
    for shard in range(3):
        write(tmp_path / f"train-{shard:04}.tar", examples(10 * shard, 10))
    write(tmp_path / "val-0000.tar", examples(100, 5))
    return tmp_path


def test_examples_are_read_in_any_order(root) -> None:
    train, held_out = shards(root, "", "")
    assert (len(train), len(held_out)) == (30, 5)
    assert train.info.class_names == ("0", "1", "2")
    for i in (29, 0, 15, 15, 3):
        np.testing.assert_array_equal(train[i]["image"], np.full((4, 5, 3), i))
        assert train[i]["label"] == i % 3 == train.labels[i]
    assert held_out[0]["image"][0, 0, 0] == 100


def test_threads_share_the_open_files(root) -> None:
    train, _ = shards(root, "", "")
    batches = eval_batches(train, lambda x: x.astype(np.float32), batch_size=4, num_threads=4)
    levels = np.concatenate([batch["image"][:, 0, 0, 0] for batch in batches])
    np.testing.assert_array_equal(levels[:30], np.arange(30))


def test_a_copy_in_another_process_opens_files_of_its_own(root) -> None:
    train, _ = shards(root, "", "")
    assert train[3]["label"] == 0
    copy = pickle.loads(pickle.dumps(train))
    del train
    np.testing.assert_array_equal(copy[4]["image"], np.full((4, 5, 3), 4))


def test_patterns_and_names_of_classes(root) -> None:
    (root / "classes.txt").write_text("ant\nbee\ncat\n")
    train, held_out = shards(root, "train-000[01].tar", "train-0002.tar")
    assert (len(train), len(held_out)) == (20, 10)
    assert train.info.class_names == ("ant", "bee", "cat")


@pytest.mark.parametrize("keep", [0, 300, 700, 5000, -1024, -10240, "between"])
def test_a_tar_cut_anywhere_is_one_line(root, keep) -> None:
    path = root / "train-0001.tar"
    data = path.read_bytes()
    if keep == "between":
        with tarfile.open(path) as tar:
            keep = tar.getmembers()[9].offset
    data = data[:keep] if keep >= 0 else data.rstrip(b"\x00")[: keep // 10]
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"cannot read the shard .*train-0001.tar: \S") as caught:
        shards(root, "", "")
    assert "\n" not in str(caught.value)


def test_what_is_no_tar_or_not_there_is_named(root) -> None:
    with pytest.raises(UserError, match=r"no file fits test\*.tar in .* \(known: train-0000.tar"):
        shards(root, "", "test*.tar")
    (root / "val-0000.tar").write_text("hello" * 1000)
    with pytest.raises(UserError, match=r"cannot read the shard .*val-0000.tar"):
        shards(root, "", "")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.jpg", b"x")], r"a in .*val-0000.tar has no a.cls"),
        ([("a.txt", b"x")], "has no images"),
        # Keys end at the first dot: this is the field `b.jpg` of `a`.
        ([("a.b.jpg", b"x"), ("a.b.cls", b"1")], "has no images"),
        ([("a.jpg", b"x"), ("a.cls", b"cat")], r"a.cls in .*val-0000.tar holds b'cat', no number"),
        ([("a.jpg", b"x"), ("a.cls", b"3")], "labels from 3 to 3, but there are 3 classes"),
        ([("a.jpg", b"x"), ("a.cls", b"-1")], "labels from -1 to -1"),
    ],
)
def test_wrong_contents_are_one_line(root, members, message) -> None:
    write(root / "val-0000.tar", members)
    with pytest.raises(UserError, match=message):
        shards(root, "", "")


def test_a_corrupt_picture_is_named_when_it_is_read(root) -> None:
    write(root / "val-0000.tar", [("a/b.jpg", png(3)[:40]), ("a/b.cls", b"1")])
    _, held_out = shards(root, "", "")
    with pytest.raises(UserError, match=r"cannot read a/b in .*val-0000.tar: \S"):
        held_out[0]
