import json
import os
import socket
import time

import pytest

from cnn.errors import UserError
from cnn.report import sessions


def test_a_start_is_recorded_before_its_end(tmp_path):
    with sessions.recorded(tmp_path, 40, 100.0) as session:
        (now,) = sessions.read(tmp_path)
        assert now == {
            "started": 100.0,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "num_steps": 40,
        }
        session.code, session.step = 143, 7
    (now,) = sessions.read(tmp_path)
    assert (now["code"], now["step"], now.get("error")) == (143, 7, None)
    assert time.time() - 60 < now["ended"] <= time.time()
    with sessions.recorded(tmp_path, 40, 200.0):
        assert [one["started"] for one in sessions.read(tmp_path)] == [100.0, 200.0]
    assert [one["code"] for one in sessions.read(tmp_path)] == [143, 0]


@pytest.mark.parametrize(
    "error, code, text",
    [
        (UserError("the loss\nis gone"), 2, "the loss is gone"),
        (KeyboardInterrupt(), 130, "KeyboardInterrupt"),
        (ValueError("what"), 1, "what"),
    ],
    ids=str,
)
def test_an_error_is_recorded_and_goes_on(tmp_path, error, code, text):
    with pytest.raises(type(error)), sessions.recorded(tmp_path, 1, 0.0):
        raise error
    (now,) = sessions.read(tmp_path)
    assert (now["code"], now["error"]) == (code, text)


def test_a_process_that_does_not_lead_writes_nothing(tmp_path):
    with sessions.recorded(None, 1, 0.0) as session:
        session.code = 1
    assert not list(tmp_path.iterdir())
    assert sessions.read(tmp_path) == []


def test_what_cannot_be_written_at_the_end_hides_no_error(tmp_path):
    with pytest.raises(ValueError, match="first"), sessions.recorded(tmp_path, 1, 0.0):
        (tmp_path / sessions.FILE).unlink()
        (tmp_path / sessions.FILE / "in the way").mkdir(parents=True)
        raise ValueError("first")


def test_a_damaged_record_is_said(tmp_path):
    (tmp_path / sessions.FILE).write_text(json.dumps([1]))
    with pytest.raises(UserError, match=r"sessions\.json holds a list"):
        sessions.read(tmp_path)
