import math

import pytest

from cnn.report import text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.98304, "0.9830"),
        (12345.678, "12,345.6780"),
        (0.002, "0.002"),
        (3.14159e-7, "3.14e-07"),
        (1.5e9, "1.5e+09"),
        (0.0, "0"),
        (-1.25, "-1.2500"),
        (math.nan, "NaN"),
        (-math.inf, "\N{MINUS SIGN}∞"),
    ],
)
def test_numbers(value, shown):
    assert text.number(value) == shown


def test_shares():
    assert text.percent(0.98304) == "98.30\N{NO-BREAK SPACE}%"
    assert text.percent(0.98304, decimals=1) == "98.3\N{NO-BREAK SPACE}%"
    assert text.percent(math.nan) == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (48.16, "48.2 s"),
        (60, "1 min 0 s"),
        (725, "12 min 5 s"),
        (3 * 3600 + 20 * 60 + 59, "3 h 20 min"),
        (2 * 86400 + 4 * 3600, "2 d 4 h"),
    ],
)
def test_durations(seconds, shown):
    assert text.duration(float(seconds)) == shown


def test_settings_become_sections_of_dotted_names():
    settings = {"model": {"name": "lenet5", "options": {"a": {"b": 1}}}, "seed": 0, "tags": []}
    assert text.sections(settings) == [
        ("", [("seed", "0"), ("tags", "[]")]),
        ("model", [("name", "lenet5"), ("options.a.b", "1")]),
    ]


def test_what_strings_cannot_show_is_json():
    settings = {"a": None, "b": True, "c": [0.1, "x"], "d": "", "e": {}}
    assert text.sections(settings) == [
        ("", [("a", "null"), ("b", "true"), ("c", '[0.1, "x"]'), ("d", '""'), ("e", "{}")])
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (425, "425"),
        (999.6, "1 k"),
        (61_706, "61.7 k"),
        (2_310_000, "2.31 M"),
        (1.2e9, "1.2 G"),
        (3e12, "3 T"),
    ],
)
def test_quantities_have_three_digits_and_a_letter(value, shown):
    assert text.quantity(value).replace("\N{NO-BREAK SPACE}", " ") == shown
