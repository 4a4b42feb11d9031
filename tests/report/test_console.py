import io
import re

import pytest
import rich.console

from cnn.report.console import Console


class Clock:
    """Half a second a step."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        self.seconds += 0.5
        return self.seconds


def run(screen, *, steps=range(1, 13), log_every_steps=5, notes=()):
    with Console(12, 4, log_every_steps=log_every_steps, screen=screen, clock=Clock()) as console:
        for step in steps:
            values = {"train/loss": 1 / step, "train/accuracy": 0.25}
            console.update(step, values, images_per_second=12345.6)
            for text in notes:
                console.note(text)
    return screen.file.getvalue()


def plain():
    return rich.console.Console(file=io.StringIO())


def terminal(columns=80):
    # The environment is what a terminal would set, whatever runs the tests.
    environment = {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "25"}
    return rich.console.Console(file=io.StringIO(), force_terminal=True, _environ=environment)


def test_a_file_gets_one_line_every_n_steps_and_at_the_end():
    assert run(plain()).splitlines() == [
        "step  5/12  epoch 1.2  loss 0.2000  accuracy 0.2500   12,346 images/s  0:00:04 left",
        "step 10/12  epoch 2.5  loss 0.1000  accuracy 0.2500   12,346 images/s  0:00:01 left",
        "step 12/12  epoch 3.0  loss 0.0833  accuracy 0.2500   12,346 images/s  0:00:00 left",
    ]


def test_a_multiple_that_was_passed_between_two_updates_counts():
    text = run(plain(), steps=[2, 4, 6, 8, 9, 11])
    assert re.findall(r"step +(\d+)", text) == ["6", "11"]


def test_the_first_update_does_not_count_for_the_time_left():
    first, second = run(plain(), steps=[3, 4], log_every_steps=1).splitlines()
    assert first.endswith("-:--:-- left")
    assert second.endswith("0:00:04 left")


def test_a_note_is_a_line_of_its_own():
    note = "saved [red]runs/x[/red] " + "runs/a-long-path/" * 8
    assert run(plain(), steps=[5], notes=[note]).splitlines()[1] == note


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.0000"),
        (-0.25, "-0.2500"),
        (2.302585, "2.3026"),
        (56.78, "  56.8"),
        (1e-5, "1e-05"),
        (3.2e6, "3e+06"),
        (float("nan"), "   nan"),
        (float("inf"), "   inf"),
    ],
)
def test_numbers_of_any_size_are_readable(value, shown):
    screen = plain()
    with Console(1, 1, log_every_steps=1, screen=screen) as console:
        console.update(1, {"eval/top_5": value}, 0.0)
    assert f"top 5 {shown}  " in screen.file.getvalue()


def what_is_read(text):
    """Without the control sequences, a line for each time the bar was drawn."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")


def test_a_terminal_gets_a_bar_with_everything():
    raw = run(terminal(110))
    assert "\x1b[" in raw
    text = what_is_read(raw)
    last = text.rstrip().splitlines()[-1]
    for part in ("epoch 3.0", "━━━", "12/12", "loss 0.0833", "accuracy 0.2500"):
        assert part in last
    assert "12,346 images/s" in last
    assert last.endswith("0:00:00")
    assert "step 5/12" not in text


def test_the_bar_fits_a_narrow_terminal():
    text = what_is_read(run(terminal(80)))
    last = text.rstrip().splitlines()[-1]
    assert len(last) <= 80
    for part in ("3.0", "12/12", "loss 0.0833", "accuracy 0.2500", "12,346 images/s", "0:00:00"):
        assert part in last


def test_a_note_stands_above_the_bar_word_for_word():
    note = "checkpoint [bold]at[/bold] " + "runs/a-long-path/" * 8
    text = what_is_read(run(terminal(80), steps=[1, 2], notes=[note]))
    assert text.splitlines().count(note) == 2
    assert "2/12" in text.rstrip().splitlines()[-1]


def test_the_terminal_is_given_back_after_an_error():
    screen = terminal()
    with (
        pytest.raises(KeyboardInterrupt),
        Console(12, 4, log_every_steps=5, screen=screen) as console,
    ):
        console.update(1, {}, 0.0)
        raise KeyboardInterrupt
    text = screen.file.getvalue()
    shows_cursor, hides_cursor = "\x1b[?25h", "\x1b[?25l"
    assert text.rindex(shows_cursor) > text.rindex(hides_cursor)
