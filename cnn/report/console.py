"""The progress of a run on the screen: a bar on a terminal, plain lines in a file or a pipe."""

from __future__ import annotations

import datetime
import math
import time
import types
from collections.abc import Callable, Mapping
from typing import SupportsFloat

import rich.console
from rich.progress import BarColumn, Progress, TaskID, TextColumn


class Console:
    """Shows epoch, step, values, images/s and the time left; a context manager.

    On a terminal it is a bar, with what else is printed meanwhile above it. Otherwise it is one
    line every `log_every_steps`:

        step  120/1240  epoch  1.9  loss 0.2310  accuracy 0.9310    12,345 images/s  0:01:12 left
    """

    def __init__(
        self,
        total_steps: int,
        steps_per_epoch: SupportsFloat,
        *,
        log_every_steps: int,
        screen: rich.console.Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares the display; nothing is shown before the `with`.

        Args:
            total_steps: The number of updates of the whole run.
            steps_per_epoch: Updates for one pass over the training examples.
            log_every_steps: A plain line whenever a multiple of it is reached or passed, and at
                the end. The bar follows every update.
            screen: Where to write; None is standard output. The bar is for a screen that says it
                is a terminal.
            clock: Seconds from anywhere, for the time left.
        """
        self._total_steps = total_steps
        self._steps_per_epoch = float(steps_per_epoch)
        self._log_every_steps = log_every_steps
        self._screen = screen or rich.console.Console()
        self._clock = clock
        # The first step compiles, so the speed is measured from the first update on.
        self._first: tuple[int, float] | None = None
        self._shown_step = 0
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        if self._screen.is_terminal:
            self._progress = Progress(
                TextColumn("epoch {task.fields[epoch]}", markup=False),
                BarColumn(bar_width=None),
                TextColumn("{task.completed:.0f}/{task.total:.0f}", markup=False),
                TextColumn("{task.fields[values]}", markup=False),
                TextColumn("{task.fields[speed]}", markup=False),
                TextColumn("{task.fields[left]}", markup=False),
                console=self._screen,
                expand=True,
            )

    def update(
        self, step: int, values: Mapping[str, SupportsFloat], images_per_second: SupportsFloat
    ) -> None:
        """Shows the state after `step` updates.

        Args:
            step: The number of updates done.
            values: What to show besides, in this order; "train/loss" is shown as "loss".
            images_per_second: The present speed, over all devices.
        """
        now = self._clock()
        if self._first is None:
            self._first = (step, now)
        epoch = step / self._steps_per_epoch
        shown = "  ".join(f"{_name(name)} {_number(value)}" for name, value in values.items())
        speed = f"{float(images_per_second):,.0f} images/s"
        left = self._time_left(step, now)
        if self._progress is not None and self._bar is not None:
            self._progress.update(
                self._bar,
                completed=step,
                epoch=f"{epoch:.1f}",
                values=shown,
                speed=speed,
                left=left,
            )
            return
        passed = step // self._log_every_steps > self._shown_step // self._log_every_steps
        if passed or step >= self._total_steps:
            self._shown_step = step
            epochs = f"{self._total_steps / self._steps_per_epoch:.1f}"
            counter = f"{step:>{len(str(self._total_steps))}}/{self._total_steps}"
            self._line(
                f"step {counter}  epoch {epoch:>{len(epochs)}.1f}  {shown}"
                f"  {speed:>16}  {left} left"
            )

    def note(self, text: str) -> None:
        """Shows a message, such as an evaluation or a checkpoint, above the bar or as a line."""
        if self._progress is None:
            self._line(text)
        else:
            # Paths and class names are no markup, and nobody can copy a path broken in two.
            self._screen.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Console:
        if self._progress is not None:
            self._progress.start()
            self._bar = self._progress.add_task(
                "train", total=self._total_steps, epoch="0.0", values="", speed="", left="-:--:--"
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def _line(self, text: str) -> None:
        # Not `print` of the screen, which would break the line at its idea of a width.
        self._screen.file.write(text + "\n")
        self._screen.file.flush()

    def _time_left(self, step: int, now: float) -> str:
        first_step, start = self._first or (step, now)
        if step >= self._total_steps:
            return "0:00:00"
        if step <= first_step or now <= start:
            return "-:--:--"
        seconds = (self._total_steps - step) * (now - start) / (step - first_step)
        return str(datetime.timedelta(seconds=round(seconds)))


def _name(name: str) -> str:
    return name.rsplit("/", 1)[-1].replace("_", " ")


def _number(value: SupportsFloat) -> str:
    """Six characters wide for what losses and accuracies usually are, so that lines align."""
    number = float(value)
    if number == 0 or 1e-3 <= abs(number) < 10 or not math.isfinite(number):
        return f"{number:6.4f}"
    return f"{number:6.1f}" if 10 <= abs(number) < 1e4 else f"{number:.0e}"
