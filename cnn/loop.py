"""How long a training is, and when it logs, evaluates and saves."""

from __future__ import annotations

from typing import NamedTuple

from cnn.errors import UserError


class Loop(NamedTuple):
    """How long to train and when to do what else, all in steps."""

    num_steps: int
    log_every_steps: int
    eval_every_steps: int
    checkpoint_every_steps: int


def make_loop(
    steps_per_epoch: int,
    *,
    num_epochs: float,
    num_steps: int,
    log_every_steps: int,
    eval_every_steps: int,
    checkpoint_every_steps: int,
) -> Loop:
    """Cadences in steps.

    Args:
        steps_per_epoch: Of the training data; an epoch drops the rest that fills no batch.
        num_epochs: Length of the training; read only where `num_steps` is 0.
        num_steps: Length of the training; 0 means `num_epochs`.
        log_every_steps: Training metrics are means over so many steps.
        eval_every_steps: 0 means once an epoch; the last step always evaluates.
        checkpoint_every_steps: 0 means once an epoch; the last step always saves.

    Raises:
        UserError: If the training would have no step, or a cadence is negative.
    """
    total = num_steps or round(num_epochs * steps_per_epoch)
    if total < 1:
        raise UserError(
            f"nothing to train: train.num_steps is {num_steps}, train.num_epochs {num_epochs}"
        )
    if log_every_steps < 1 or min(eval_every_steps, checkpoint_every_steps) < 0:
        raise UserError(
            "train.log_every_steps must be at least 1, eval_every_steps and "
            "checkpoint_every_steps at least 0"
        )
    return Loop(
        total,
        log_every_steps,
        eval_every_steps or steps_per_epoch,
        checkpoint_every_steps or steps_per_epoch,
    )
