import json
import math
import os
import struct

import numpy as np
import pytest
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import masked_crc32c

from cnn.errors import UserError
from cnn.report.log import MetricLog, read_metrics


def events(workdir):
    """Every event of every file, in the order in which TensorBoard reads them."""
    found = []
    for path in sorted((workdir / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            record, content = content[: 16 + length], content[16 + length :]
            head, body = (
                struct.pack("<I", masked_crc32c(part)) for part in (record[:8], record[12:-4])
            )
            assert (record[8:12], record[-4:]) == (head, body)
            found.append(event_pb2.Event.FromString(record[12:-4]))
    return found


def scalars(workdir):
    """What TensorBoard shows by (step, name): a START hides what is at and after its step."""
    shown = {}
    for event in events(workdir):
        if event.HasField("session_log"):
            shown = {key: value for key, value in shown.items() if key[0] < event.step}
        for value in event.summary.value:
            shown[event.step, value.tag] = value.simple_value
    return shown


def write_run(workdir, steps, *, resume_step=0, speed=100.0):
    with MetricLog(workdir, resume_step=resume_step) as log:
        for step in steps:
            log.write(step, {"train/loss": 1 / (step + 1)}, timing={"images_per_second": speed})


def lines(workdir):
    return (workdir / "metrics.jsonl").read_text().splitlines()


def test_a_line_holds_step_values_and_timing_with_every_digit(tmp_path):
    with MetricLog(tmp_path) as log:
        values = {"train/loss": np.float32(0.1), "eval/accuracy": 1 / 3}
        log.write(120, values, timing={"seconds": 2})
    assert lines(tmp_path) == [
        '{"step": 120, "eval/accuracy": 0.3333333333333333, '
        '"train/loss": 0.10000000149011612, "perf/seconds": 2.0}'
    ]
    assert read_metrics(tmp_path) == [
        {
            "step": 120,
            "eval/accuracy": 1 / 3,
            "train/loss": float(np.float32(0.1)),
            "perf/seconds": 2.0,
        }
    ]


def test_equal_runs_have_equal_lines_but_for_timing(tmp_path):
    def stripped(workdir):
        return [
            {k: v for k, v in json.loads(line).items() if not k.startswith("perf/")}
            for line in lines(workdir)
        ]

    write_run(tmp_path / "a", range(1, 9), speed=100.0)
    write_run(tmp_path / "b", range(1, 9), speed=200.0)
    write_run(tmp_path / "c", range(1, 9), speed=100.0)
    assert lines(tmp_path / "a") == lines(tmp_path / "c")
    assert lines(tmp_path / "a") != lines(tmp_path / "b")
    assert stripped(tmp_path / "a") == stripped(tmp_path / "b")


def test_the_order_of_the_values_does_not_matter(tmp_path):
    for name, values in (("a", {"x": 1.0, "y": 2.0}), ("b", {"y": 2.0, "x": 1.0})):
        with MetricLog(tmp_path / name) as log:
            log.write(1, values)
    assert lines(tmp_path / "a") == lines(tmp_path / "b")


def test_a_line_can_be_read_before_the_log_is_closed(tmp_path):
    with MetricLog(tmp_path) as log:
        log.write(1, {"train/loss": 2.0})
        assert read_metrics(tmp_path) == [{"step": 1, "train/loss": 2.0}]
        assert scalars(tmp_path) == {(1, "train/loss"): 2.0}


def test_a_resumed_run_has_the_lines_of_an_unbroken_one(tmp_path):
    write_run(tmp_path / "whole", range(1, 13))
    broken = tmp_path / "broken"
    write_run(broken, range(1, 8))
    with (broken / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "train/lo')
    write_run(broken, range(6, 13), resume_step=5)
    assert (broken / "metrics.jsonl").read_bytes() == (
        tmp_path / "whole" / "metrics.jsonl"
    ).read_bytes()
    assert scalars(broken) == scalars(tmp_path / "whole")
    assert len(list((broken / "tensorboard").iterdir())) == 2
    assert sorted(p.name for p in broken.iterdir()) == ["metrics.jsonl", "tensorboard"]


def test_a_whole_last_line_without_its_newline_is_kept(tmp_path):
    write_run(tmp_path, range(1, 4))
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    write_run(tmp_path, [4], resume_step=3)
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 2, 3, 4]


def test_a_new_start_drops_everything_even_step_0(tmp_path):
    write_run(tmp_path, range(0, 5))
    write_run(tmp_path, [0, 1])
    assert [record["step"] for record in read_metrics(tmp_path)] == [0, 1]
    assert {step for step, _ in scalars(tmp_path)} == {0, 1}


def test_resuming_without_a_log_begins_one(tmp_path):
    write_run(tmp_path / "new", [6], resume_step=5)
    assert [record["step"] for record in read_metrics(tmp_path / "new")] == [6]


def test_what_is_not_finite_is_valid_json_and_comes_back(tmp_path):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    with MetricLog(tmp_path) as log:
        log.write(1, {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1e300})
    json.loads(lines(tmp_path)[0], parse_constant=refuse)
    (record,) = read_metrics(tmp_path)
    assert math.isnan(record["a"])
    assert (record["b"], record["c"], record["d"]) == (math.inf, -math.inf, 1e300)
    assert math.isnan(scalars(tmp_path)[1, "a"])


def test_reading_leaves_out_a_half_written_last_line(tmp_path):
    write_run(tmp_path, [1, 2])
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    assert [record["step"] for record in read_metrics(tmp_path)] == [1]


def test_a_run_without_a_log_has_no_lines(tmp_path):
    assert read_metrics(tmp_path) == []


@pytest.mark.parametrize("damage", ["rubbish", '{"loss": 1.0}', "[1]", '{"step": "x"}'])
def test_damage_in_the_middle_is_reported_by_line(tmp_path, damage):
    write_run(tmp_path, [1, 2, 3])
    first, _, third = lines(tmp_path)
    (tmp_path / "metrics.jsonl").write_text(f"{first}\n{damage}\n{third}\n")
    with pytest.raises(UserError, match=r"line 2 of .*metrics\.jsonl"):
        read_metrics(tmp_path)
    with pytest.raises(UserError, match=r"line 2 of .*metrics\.jsonl"):
        MetricLog(tmp_path, resume_step=2)
    assert len(lines(tmp_path)) == 3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_one_line_that_names_the_file(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with (
        pytest.raises(UserError, match=r"cannot write .*metrics\.jsonl: No space") as caught,
        MetricLog(tmp_path) as log,
    ):
        log.write(1, {"train/loss": 2.0})
    assert "\n" not in str(caught.value)


def test_a_workdir_that_cannot_be_made_is_one_line_that_names_it(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file"):
        MetricLog(tmp_path / "file" / "run")


def test_an_error_of_the_loop_is_not_hidden_by_the_log(tmp_path):
    with pytest.raises(ZeroDivisionError), MetricLog(tmp_path) as log:
        log.write(1, {"train/loss": 2.0})
        raise ZeroDivisionError
    assert [record["step"] for record in read_metrics(tmp_path)] == [1]
