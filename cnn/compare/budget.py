"""One budget for all models -> how many steps each of them trains, and on how much."""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import shutil
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import rich.console
from flax.errors import FlaxError

from cnn import data, experiment, macs, models, train
from cnn.compare.settings import Comparison
from cnn.errors import UserError
from cnn.experiment import Config
from cnn.report.console import Console
from cnn.report.log import read_metrics

KINDS = {"vit": "ViT", "mlp": "MLP", "mixer": "MLP"}
"""What the families of networks are that are not convolutional."""
TRIAL_STEPS = 60
_TRIAL_LINE_STEPS = 10


class Group(NamedTuple):
    """The trainings of a model on a share of the training set, one from each seed.

    Attributes:
        model: Its name in the comparison.
        kind: A value of `KINDS`, or "CNN".
        fraction: Share of the training set, in (0, 1].
        config: Of each training, but for the seed.
        num_train: Examples that there are to train on.
        parameters: Trained numbers.
        macs: Multiply-accumulates of the network for one image.
        step_macs: Multiply-accumulates of one step, backward pass included.
    """

    model: str
    kind: str
    fraction: float
    config: Config
    num_train: int
    parameters: int
    macs: int
    step_macs: int

    @property
    def num_steps(self) -> int:
        """Of each training."""
        return self.config["train"]["num_steps"]

    @property
    def batch_size(self) -> int:
        """Images in a step."""
        return self.config["loader"]["batch_size"]

    @property
    def folder(self) -> pathlib.PurePath:
        """Of its runs, below the comparison's workdir."""
        return pathlib.PurePath("runs", self.model, f"{self.fraction:g}")

    def run(self, seed: int) -> pathlib.PurePath:
        """The workdir of one training, below the comparison's."""
        return self.folder / f"seed{seed}"


def plan(comparison: Comparison, step_seconds: Callable[[str, Config], float]) -> list[Group]:
    """The trainings, model by model, each with its length; nothing is trained.

    Args:
        comparison: What is compared.
        step_seconds: (model's name, config) -> seconds of a step; asked under the budget "seconds".

    Raises:
        UserError: With the model's name, if it is unknown, cannot take its images, or would not
            train a single step.
    """
    first = next(iter(comparison.recipes.values()))
    with _of("base config"):
        sources = experiment.call(first, "data")
    groups = []
    for name, recipe in comparison.recipes.items():
        with _of(f"compare.models.{name}"):
            for fraction in comparison.fractions:
                group = _group(comparison, name, recipe, fraction, sources)
                groups.append(_with_length(comparison, group, step_seconds))
    return groups


@contextlib.contextmanager
def _of(what: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from error


def _group(
    comparison: Comparison, name: str, recipe: Config, fraction: float, sources: data.Sources
) -> Group:
    share = recipe["sampling"]["fraction"] * fraction
    sampling = {**recipe["sampling"], "fraction": share}
    count = len(experiment.call({"sampling": sampling}, "sampling", sources.train))
    whole = len(experiment.call(recipe, "sampling", sources.train))
    config = {**recipe, "sampling": sampling}
    config = _with_batch(config, count, whole)
    facts = experiment.DataFacts(tuple(sources.train.info.class_names), count, len(sources.eval))
    built = experiment.build_without_data({**config, "train": _train(config, 1, 1)}, facts)
    try:
        state = built.abstract_state()
        image = {k: v for k, v in built.blank_batch(1).items() if k == "image"}
        batch = built.for_step(built.blank_batch(config["loader"]["batch_size"]))
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (image, batch))
        forward = macs.count(built.task.predict, state, shapes[0])
        step = macs.count(built.task.step, state, shapes[1], jax.random.key(0))
    except (FlaxError, TypeError, ValueError) as error:
        size, channels = (config["preprocess"][key] for key in ("image_size", "channels"))
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{config['model']['name']} cannot take images of {size}x{size}x{channels}: {reason}"
        ) from error
    parameters = sum(math.prod(x.shape) for x in jax.tree.leaves(state.params))
    family = models.family_of(config["model"]["name"])
    kind = KINDS.get(family, "CNN")
    return Group(name, kind, fraction, config, count, parameters, forward, step)


def _with_batch(config: Config, count: int, whole: int) -> Config:
    """The batch no larger than the examples, the schedule's epochs as many steps as with all."""
    batch_size = config["loader"]["batch_size"]
    parts = experiment.call(config, "parallel", None).num_parts
    smaller = min(batch_size, count // parts * parts)
    if smaller < 1:
        raise UserError(
            f"{count} training examples are too few for {parts} devices (compare.fractions)"
        )
    steps = [data.steps_per_epoch(n, size) for n, size in ((whole, batch_size), (count, smaller))]
    schedule = dict(config["schedule"])
    schedule["warmup_epochs"] *= steps[0] / steps[1]
    schedule["decay_epochs"] = [x * steps[0] / steps[1] for x in schedule["decay_epochs"]]
    return {
        **config,
        "loader": {**config["loader"], "batch_size": smaller},
        "schedule": schedule,
    }


def _train(config: Config, num_steps: int, evaluations: int) -> dict[str, Any]:
    every = max(1, math.ceil(num_steps / evaluations))
    cadence = {"log_every_steps": every, "eval_every_steps": every}
    return {**config["train"], "num_steps": num_steps, **cadence}


def _with_length(
    comparison: Comparison, group: Group, step_seconds: Callable[[str, Config], float]
) -> Group:
    kind, amount = comparison.budget
    cost = {
        "steps": lambda: 1.0,
        "images": lambda: float(group.batch_size),
        "macs": lambda: float(group.step_macs),
        "seconds": lambda: step_seconds(group.model, group.config),
    }[kind]()
    num_steps = round(amount / cost)
    if num_steps < 1:
        raise UserError(
            f"a step takes {cost:.3g} {kind}, more than the whole budget of {amount:.3g} "
            "(compare.budget.amount)"
        )
    section = _train(group.config, num_steps, comparison.evaluations)
    return group._replace(config={**group.config, "train": section})


def measure_step_seconds(config: Config, directory: pathlib.Path) -> float:
    """Seconds of a step by a short training: the median, without compiling and evaluating.

    Args:
        config: Of the training.
        directory: Where it is kept meanwhile; removed afterwards.
    """
    built = experiment.build({**config, "train": _trial(config)})
    loop = built.loop
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        screen = rich.console.Console(file=stack.enter_context(open(os.devnull, "w")))
        console = Console(
            loop.num_steps,
            built.steps_per_epoch,
            log_every_steps=loop.log_every_steps,
            screen=screen,
        )
        outcome = train.train(built, directory, stack.enter_context(console))
        if outcome.signal is not None:
            raise KeyboardInterrupt
        return _median_seconds(read_metrics(directory), _TRIAL_LINE_STEPS)


def _trial(config: Config) -> dict[str, Any]:
    length = {"num_steps": TRIAL_STEPS, "log_every_steps": _TRIAL_LINE_STEPS}
    never = {"eval_every_steps": TRIAL_STEPS, "checkpoint_every_steps": TRIAL_STEPS}
    return {**config["train"], **length, **never}


def _median_seconds(records: Sequence[Mapping[str, Any]], every: int) -> float:
    """Of a step; the first line has the compilation in it."""
    seconds = [record["perf/seconds"] for record in records if "perf/seconds" in record]
    return statistics.median(seconds[1:]) / every
