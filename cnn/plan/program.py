"""The training step of an experiment as a compiler takes it: from shapes alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from cnn import data, train
from cnn import experiment as experiments
from cnn.core import all_params
from cnn.errors import UserError


class Step(NamedTuple):
    """A training step and the shapes, types and shardings of what it is called with.

    `run` is jitted as the strategy does it, `function` is not.
    """

    experiment: experiments.Experiment
    run: Any
    function: Callable[..., Any]
    args: tuple[Any, ...]

    @property
    def num_parameters(self) -> int:
        """Trained numbers."""
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(all_params(self.args[0])))


def make_step(
    config: Mapping[str, Any],
    devices: Sequence[Any],
    *,
    share: int = 1,
    num_train: int = 0,
    num_classes: int = 0,
) -> Step:
    """The step that `cnn train` would run on the devices, which need not be here.

    Args:
        config: The experiment.
        devices: All of a topology, or of this machine.
        share: The step is called with this part of the batch: one of so many equal ones.
        num_train: Examples of the data set; 0 takes what is known of it.
        num_classes: As `num_train`.

    Raises:
        UserError: For whatever `cnn train` would refuse, a strategy that does not compile ahead of
            time, a data set of unknown size.
    """
    if config["parallel"]["strategy"] != "mesh":
        raise UserError(
            "cnn plan compiles parallel.strategy='mesh' only, got "
            f"{config['parallel']['strategy']!r}; a step under pmap costs about the same"
        )
    facts = _facts(config, num_train, num_classes)
    experiment = experiments.build_without_data(config, facts, devices)
    strategy = experiment.strategy
    batch = _batch(experiment, share)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state, tally = strategy.abstract(jax.eval_shape(train.make_init(experiment.task), key, batch))
    args = (state, tally, strategy.abstract_batch(batch), strategy.abstract(key))
    bare = strategy._replace(step=lambda function: function)
    run, function = (train.make_step(experiment.task, one) for one in (strategy, bare))
    return Step(experiment, run, function, args)


def _batch(experiment: experiments.Experiment, share: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a training batch, with images of the largest size that they have in training."""
    size = max(experiment.augment().sizes_px, default=0)
    batch_size = experiment.config["loader"]["batch_size"] // share
    return {
        name: jax.ShapeDtypeStruct((batch_size, *array.shape[1:]), array.dtype)
        for name, array in experiment.for_step(experiment.blank_batch(1, size)).items()
    }


def _facts(config: Mapping[str, Any], num_train: int, num_classes: int) -> experiments.DataFacts:
    if not (num_train and num_classes):
        known = data.published_size(config["data"])
        num_train, num_classes = num_train or known.num_train, num_classes or known.num_classes
    # By classes it may be some more or fewer.
    count = max(1, round(num_train * config["sampling"]["fraction"]))
    return experiments.DataFacts(tuple(map(str, range(num_classes))), count, 1)
