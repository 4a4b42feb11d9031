import math
import xml.etree.ElementTree

import matplotlib as mpl
import numpy as np

from cnn.report import figures
from cnn.report.history import Series


def series(metric, split, values, *, every=1):
    steps = np.arange(1, len(values) + 1) * every
    return Series(metric, split, steps, np.array(values, np.float64))


def draw(*found, steps_per_epoch=None):
    return figures.curves(list(found), steps_per_epoch=steps_per_epoch)


def texts(svg):
    root = xml.etree.ElementTree.fromstring(svg.replace("xlink:", ""))
    return [element.text for element in root.iter("text")]


def test_one_figure_a_metric_with_a_legend_of_its_splits():
    loss, accuracy = draw(
        series("loss", "train", [2.0, 1.0, 0.9]),
        series("loss", "eval", [1.5]),
        series("accuracy", "train", [0.1, 0.5]),
    )
    assert (loss.title, accuracy.title) == ("loss", "accuracy")
    assert {"train", "eval", "step"} <= set(texts(loss.svg))
    assert "train" not in texts(accuracy.svg)


def test_measurements_are_marked_and_every_line_has_a_colour_of_the_page():
    (one,) = draw(
        series("loss", "train", [2.0, 1.0, 0.9, 0.8]), series("loss", "eval", [1.5, 1.2, 1.1])
    )
    assert one.svg.count("<use ") > 0
    markers = [part for part in one.svg.split("<use ")[1:] if "var(--curve-2)" in part[:200]]
    # Three points and one in the legend.
    assert len(markers) == 4
    assert "var(--curve-1)" in one.svg
    assert "#1f2934" not in one.svg


def test_epochs_are_on_the_second_axis():
    (one,) = draw(series("loss", "train", [1.0, 2.0, 3.0, 4.0], every=50), steps_per_epoch=100.0)
    assert "epoch" in texts(one.svg)
    assert "epoch" not in texts(draw(series("loss", "train", [1.0]))[0].svg)


def test_a_loss_that_falls_far_is_on_a_log_scale_without_tex():
    (one,) = draw(series("loss", "train", [2.0, 0.5, 0.05]))
    assert one.title == "loss (log scale)"
    assert {"0.1", "1"} <= set(texts(one.svg))
    assert "math" not in one.svg
    (zero,) = draw(series("loss", "train", [2.0, 0.0]))
    assert zero.title == "loss"


def test_equal_series_give_equal_bytes_and_no_address():
    found = [series("loss", "train", [2.0, 1.0]), series("loss", "eval", [1.5, math.nan])]
    assert draw(*found) == draw(*found)
    for word in ("http", "<metadata", "<!DOCTYPE", "<?xml"):
        assert word not in draw(*found)[0].svg


def test_the_settings_of_the_user_change_nothing_and_are_left_alone():
    found = series("loss", "train", [2.0, 1.0])
    expected = draw(found)
    with mpl.rc_context({"font.size": 30.0, "axes.grid": False, "svg.fonttype": "path"}):
        assert draw(found) == expected
        assert mpl.rcParams["font.size"] == 30.0


def test_what_is_not_finite_is_a_gap():
    whole, gap = (
        draw(series("loss", "train", [1.0, 2.0, middle, 2.0, 1.0]))[0].svg
        for middle in (3.0, math.nan)
    )
    line = "stroke: var(--curve-1)"
    path = next(part for part in gap.split("<path ") if line in part)
    assert path.count("M ") == 2
    assert next(part for part in whole.split("<path ") if line in part).count("M ") == 1


def test_a_curve_of_nothing_but_nan_and_a_single_point_are_drawn():
    assert len(draw(series("loss", "train", [math.nan]), series("b", "eval", [0.5]))) == 2


def test_names_are_escaped():
    (one,) = draw(series('<a&"$x_1$', "<b>", [1.0, 2.0]), series('<a&"$x_1$', "c", [1.0, 2.0]))
    assert "<b>" in texts(one.svg)
    assert "<b>" not in one.svg
    assert 'aria-label="&lt;a&amp;&quot;$x 1$' in one.svg


def test_a_long_run_is_thinned_by_means():
    values = np.arange(10_001, dtype=np.float64)
    thin = figures.thinned(series("loss", "train", values), max_points=101)
    assert len(thin.steps) == 101
    np.testing.assert_allclose(thin.values[:2], [49.5, 149.5])
    assert (thin.steps[-1], thin.values[-1]) == (10_001, 10_000.0)
    assert np.all(np.diff(thin.steps) > 0)


def test_a_short_run_is_left_as_it_is_and_a_gap_survives_thinning():
    short = series("loss", "train", [1.0] * 10)
    assert figures.thinned(short, max_points=10) is short
    values = np.ones(1000)
    values[500] = math.nan
    assert (
        np.isnan(figures.thinned(series("loss", "train", values), max_points=50).values).sum() == 1
    )
