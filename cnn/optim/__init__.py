"""Optimizers, schedules, penalties and moving averages, all built from optax transformations."""

from cnn.optim.decay import MASKS, Decay, kernels, make_decay
from cnn.optim.ema import with_ema
from cnn.optim.optimizers import OPTIMIZERS, average_gradients, make_optimizer
from cnn.optim.rates import LayersAbove, with_rates
from cnn.optim.schedule import make_schedule
from cnn.optim.schedule_free import ScheduleFree, make_schedule_free
from cnn.optim.sharpness import with_sharpness

__all__ = [
    "MASKS",
    "OPTIMIZERS",
    "Decay",
    "LayersAbove",
    "ScheduleFree",
    "average_gradients",
    "kernels",
    "make_decay",
    "make_optimizer",
    "make_schedule",
    "make_schedule_free",
    "with_ema",
    "with_rates",
    "with_sharpness",
]
