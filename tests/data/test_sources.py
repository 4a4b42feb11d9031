import io
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from cnn.data.contract import parts_of
from cnn.data.sources import open_sources
from cnn.errors import UserError


def opened(**changes):
    values = {
        "source": "mnist5k",
        "root": "",
        "name": "",
        "train_split": "",
        "eval_split": "",
        "eval_fraction": 0.2,
        "cache_mb": 1,
        "options": {},
    }
    return open_sources(**{**values, **changes})


@pytest.fixture
def pictures(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            image = Image.fromarray(np.full((400, 400, 3), i, np.uint8))
            image.save(tmp_path / name / f"{i}.png")
    return tmp_path


def test_the_embedded_digits_need_nothing_else() -> None:
    train, held_out = opened()
    assert (len(train), len(held_out)) == (4000, 1000)


def test_a_folder_is_decoded_once_where_it_fits(pictures) -> None:
    train, held_out = opened(source="folder", root=str(pictures), eval_fraction=0.25)
    assert (len(train), len(held_out)) == (6, 2)
    # Of 480,000 bytes an image, two fit into a megabyte.
    same = [train[i]["image"] is train[i]["image"] for i in range(6)]
    assert same == [True, True, False, False, False, False]
    train, _ = opened(source="folder", root=str(pictures), cache_mb=0)
    assert train[0]["image"] is not train[0]["image"]


def test_several_roots_are_one_data_set(pictures, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("other")
    for i, name in enumerate(("b", "a", "a", "a", "b")):
        (other / name).mkdir(exist_ok=True)
        Image.new("RGB", (5, 5)).save(other / name / f"{i}.png")
    root = f"{pictures}:{other}"
    train, held_out = opened(source="folder", root=root, eval_fraction=0.25)
    assert (len(train), len(held_out)) == (6 + 3, 2 + 2)
    assert train.info.class_names == ("a", "b")
    assert [train[i]["image"].shape[0] for i in range(9)] == [400] * 6 + [5] * 3
    assert parts_of(train).tolist() == [0] * 6 + [1] * 3
    with pytest.raises(UserError, match="gone' does not exist"):
        opened(source="folder", root=f"{pictures}:{other}/gone")
    colon = tmp_path_factory.mktemp("a:b")
    for name in ("a", "b"):
        shutil.copytree(pictures / name, colon / name)
    assert len(opened(source="folder", root=str(colon)).train) == 6


def test_the_fields_reach_the_source(pictures) -> None:
    with pytest.raises(UserError, match="no folder 'tset'"):
        opened(source="folder", root=str(pictures), eval_split="tset")
    with pytest.raises(UserError, match="no folder 'trian'"):
        opened(source="folder", root=str(pictures), train_split="trian")
    with pytest.raises(UserError, match=r"cnn prepare nothing --data_dir=/gone"):
        opened(source="tfds", root="/gone", name="nothing")


def test_an_unknown_source_has_its_nearest_match() -> None:
    with pytest.raises(UserError, match="did you mean 'folder'"):
        opened(source="folders")


@pytest.mark.parametrize("field", ["root", "name", "train_split", "eval_split"])
def test_a_value_that_the_source_would_ignore_is_refused(field) -> None:
    with pytest.raises(
        UserError, match=rf"data\.{field}='x' means nothing to data.source='mnist5k'"
    ):
        opened(**{field: "x"})
    with pytest.raises(UserError, match=r"data\.name='mnist' means nothing"):
        opened(source="folder", root="x", name="mnist")


def test_options_reach_their_source_and_those_of_others_are_not_read() -> None:
    options = {"synthetic": {"num_train": 7, "num_eval": 3, "height": 8}, "table": {"no": 1}}
    train, held_out = opened(source="synthetic", options=options)
    assert (len(train), len(held_out)) == (7, 3)
    assert train[6]["image"].shape == (8, 224, 3)
    with pytest.raises(UserError, match=r"data.options.table 'no' .*label_column"):
        opened(source="table", options=options)
    with pytest.raises(UserError, match=r"data.options.synthetic.num_train must be at least 1"):
        opened(source="synthetic", options={"synthetic": {"num_train": 0}})


@pytest.mark.parametrize("source", ["folder", "table", "shards"])
def test_training_pictures_may_be_decoded_smaller_and_those_of_evaluation_not(
    source, tmp_path
) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((120, 160, 3), np.uint8)).save(file, "JPEG")
    photo, label = file.getvalue(), b"1"
    for part in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            (tmp_path / part / name / "0.jpg").write_bytes(photo)
        rows = "".join(f"{part}/{name}/0.jpg,{name}\n" for name in ("a", "b"))
        (tmp_path / f"{part}.csv").write_text("path,label\n" + rows)
        with tarfile.open(tmp_path / f"{part}.tar", "w") as tar:
            for name, content in (("0.jpg", photo), ("0.cls", label)):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    options = {source: {"decode_min_px": 30}}
    train, held_out = opened(source=source, root=str(tmp_path), options=options)
    assert train[0]["image"].shape == (30, 40, 3)
    assert held_out[0]["image"].shape == (120, 160, 3)
    with pytest.raises(UserError, match=rf"{source}.decode_min_px must be at least 0, got -1"):
        opened(source=source, root=str(tmp_path), options={source: {"decode_min_px": -1}})


def test_a_table_that_is_parted_is_decoded_smaller_in_training_only(tmp_path) -> None:
    Image.fromarray(np.zeros((120, 160, 3), np.uint8)).save(tmp_path / "0.jpg")
    (tmp_path / "train.csv").write_text("path,label\n" + "0.jpg,a\n0.jpg,b\n" * 5)
    options = {"table": {"decode_min_px": 60}}
    train, held_out = opened(source="table", root=str(tmp_path), options=options)
    assert train[0]["image"].shape == (60, 80, 3)
    assert held_out[0]["image"].shape == (120, 160, 3)


@pytest.mark.parametrize("source", ["idx", "npz", "table", "shards", "folder"])
def test_a_source_of_files_needs_its_root(source) -> None:
    with pytest.raises(UserError, match=r"needs data\.root"):
        opened(source=source)


def test_importing_the_room_loads_nothing_heavy() -> None:
    heavy = "jax", "grain", "tensorflow_datasets", "mlxtend", "pandas", "scipy"
    code = f"import sys, cnn.data; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
