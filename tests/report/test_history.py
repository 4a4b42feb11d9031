import math

import numpy as np

from cnn.report import history

RECORDS = [
    {"step": 10, "train/loss": 2.0, "train/learning_rate": 0.1, "epoch": 0.5, "perf/seconds": 3.0},
    {"step": 20, "eval/loss": 1.5, "eval/accuracy": 0.5, "perf/eval_seconds": 9.0},
    {"step": 20, "train/loss": math.nan, "epoch": 1.0, "perf/seconds": 1.0},
    {"step": 30, "train/loss": math.inf, "train/top_5": 0.9},
]


def test_series_are_grouped_by_metric_in_the_order_of_the_page():
    found = history.series(RECORDS)
    assert [(one.metric, one.split) for one in found] == [
        ("loss", "train"),
        ("loss", "eval"),
        ("accuracy", "eval"),
        ("top_5", "train"),
        ("learning_rate", "train"),
    ]
    np.testing.assert_array_equal(found[0].steps, [10, 20, 30])
    np.testing.assert_array_equal(found[0].values, [2.0, np.nan, np.inf])


def test_a_name_without_a_slash_has_no_split():
    (one,) = history.series([{"step": 1, "fid": 3.0}])
    assert (one.metric, one.split) == ("fid", "")


def test_what_is_not_finite_is_counted_from_its_first_step():
    assert history.non_finite(history.series(RECORDS)) == [("train/loss", 2, 20)]


def test_steps_epochs_and_seconds():
    assert history.last_step(RECORDS) == 30
    assert history.steps_per_epoch(RECORDS) == 20.0
    assert history.training_seconds(RECORDS) == 4.0


def test_the_speed_is_a_median():
    speeds = [10.0, 100.0, 110.0, math.nan]
    records = [{"step": i, "perf/images_per_second": speed} for i, speed in enumerate(speeds)]
    assert history.images_per_second(records) == 100.0
    assert history.data_wait(records) is None
    assert history.data_wait([{"step": 1, "perf/data_wait": 0.25}]) == 0.25


def test_an_empty_log_knows_nothing():
    assert history.series([]) == []
    assert history.last_step([]) == 0
    assert history.steps_per_epoch([{"step": 0, "epoch": 0.0}]) is None
    assert history.training_seconds([]) is None
    assert history.images_per_second([]) is None
