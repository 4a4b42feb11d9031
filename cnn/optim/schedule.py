"""Schedules: the factor on the learning rate at each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import optax

from cnn.errors import UserError, check_not_negative, unknown


def make_schedule(
    num_steps: int,
    steps_per_epoch: int,
    *,
    name: str,
    warmup_epochs: float,
    end_factor: float,
    decay_epochs: Sequence[float],
    decay_rate: float,
    start_factor: float = 0.0,
) -> optax.Schedule:
    """The factor on the learning rate at each step, in [0, 1].

    Args:
        num_steps: Length of the training.
        steps_per_epoch: Turns epochs into steps.
        name: `constant`; `cosine`, `linear` and `quadratic` (a polynomial of power 2, as with
            LARS), which fall from the end of the warm-up on and reach `end_factor` after the last
            step; `step`, which multiplies by `decay_rate` at each of `decay_epochs`; `exponential`,
            which multiplies by `decay_rate` over every `decay_epochs[0]` epochs after the warm-up,
            smoothly; `staircase`, which does so at once, after every `decay_epochs[0]` epochs of
            the training, warm-up included (EfficientNet: by 0.97 every 2.4).
        warmup_epochs: The factor rises linearly from `start_factor` to 1 over this time; 0 means no
            warm-up. With `linear`, a long one makes a triangle.
        end_factor: Where `cosine`, `linear` and `quadratic` end.
        decay_epochs: For `step`, counted from the start of the training, warm-up included.
        decay_rate: For `step`, `exponential` and `staircase`.
        start_factor: Where the warm-up starts, in [0, 1]: 0.01 in torchvision's recipes.

    Raises:
        UserError: For an unknown name, a number out of its range, or an exponential schedule or a
            staircase without `decay_epochs`.
    """
    check_not_negative(
        "schedule",
        warmup_epochs=warmup_epochs,
        end_factor=end_factor,
        decay_rate=decay_rate,
        start_factor=start_factor,
        decay_epochs=min(decay_epochs, default=0.0),
    )
    if start_factor > 1:
        raise UserError(f"schedule.start_factor must be in [0, 1], got {start_factor}")
    warmup_steps = round(warmup_epochs * steps_per_epoch)
    # A training that ends before its warm-up does, as a trial of a few steps, is legal.
    rest_steps = max(num_steps - warmup_steps, 1)
    if name in ("exponential", "staircase") and not decay_epochs:
        raise UserError(f"the {name} schedule needs schedule.decay_epochs, for instance (2.4,)")
    decay_steps = [round(epochs * steps_per_epoch) for epochs in decay_epochs]
    # Several may fall into one step, above all into the warm-up, and all of them count.
    decays = Counter(max(step - warmup_steps, 0) for step in decay_steps)
    table: dict[str, Callable[[], optax.Schedule]] = {
        "constant": lambda: optax.constant_schedule(1.0),
        "cosine": lambda: optax.cosine_decay_schedule(1.0, rest_steps, end_factor),
        "linear": lambda: optax.linear_schedule(1.0, end_factor, rest_steps),
        "quadratic": lambda: optax.polynomial_schedule(1.0, end_factor, 2, rest_steps),
        "step": lambda: optax.piecewise_constant_schedule(
            1.0, {step: decay_rate**count for step, count in decays.items()}
        ),
        "exponential": lambda: optax.exponential_decay(1.0, max(decay_steps[0], 1), decay_rate),
        "staircase": lambda: _staircase(max(decay_steps[0], 1), decay_rate, warmup_steps),
    }
    if name not in table:
        raise unknown("schedule", name, table)
    if not warmup_steps:
        return table[name]()
    warmup = optax.linear_schedule(start_factor, 1.0, warmup_steps)
    return optax.join_schedules([warmup, table[name]()], [warmup_steps])


def _staircase(every_steps: int, rate: float, start_step: int) -> optax.Schedule:
    stairs = optax.exponential_decay(1.0, every_steps, rate, staircase=True)
    return lambda step: stairs(step + start_step)
