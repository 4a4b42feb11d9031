import math

import pytest

from cnn.errors import UserError
from cnn.report import files


def test_the_new_content_replaces_the_old_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "a.json"
    files.write_atomically(path, b"old")
    files.write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_is_one_line_and_leaves_the_directory_as_it_was(tmp_path):
    target = tmp_path / "a"
    target.mkdir()
    (target / "kept").touch()
    with pytest.raises(UserError, match=str(target)) as caught:
        files.write_atomically(target, b"x")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0.1, 0.1), (math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")],
)
def test_numbers_that_json_lacks_come_back(value, encoded):
    assert files.encode_float(value) == encoded
    back = files.decode_float(encoded)
    assert back == value or (math.isnan(back) and math.isnan(value))


def test_json_is_an_object_or_absent_or_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "config.json"
    assert files.read_json(path) is None
    path.write_text('{"a": {"b": 1}}')
    assert files.read_json(path) == {"a": {"b": 1}}
    for damaged in ('{"a": ', "[1]"):
        path.write_text(damaged)
        with pytest.raises(UserError, match=r"config\.json"):
            files.read_json(path)
