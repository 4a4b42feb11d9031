"""From a config to the parts of a run: data, model, optimizer, task, strategy.

A section of the config is the keyword-only arguments of one function here below; what those need
besides comes from the run itself and is positional.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.errors import FlaxError

from cnn import checkpoint, data, models, optim, parallel, resident
from cnn import feed as feeds
from cnn.core import Task, without_teacher
from cnn.errors import UserError, unknown
from cnn.evaluators import subject as subjects
from cnn.kinds import (
    KINDS,
    Kind,
    check_generated,
    check_moved,
    check_ready,
    check_target,
    kind_of,
    make_model,
    make_task,
)
from cnn.loop import Loop, make_loop
from cnn.pretrained import facts, initialise, whitening
from cnn.pretrained.teacher import make_teacher
from cnn.tasks import distillation

Config = Mapping[str, Any]
"""Sections by name, as JSON holds them: dicts, lists, numbers, strings."""

HostBatch = Mapping[str, np.ndarray]


class DataFacts(NamedTuple):
    """What a model must know of its data; kept in the workdir so that `predict` needs no data."""

    class_names: tuple[str, ...]
    num_train: int
    num_eval: int


class Evaluation(NamedTuple):
    """How the evaluation split is seen; see `make_evaluation`."""

    batch_size: int
    views: str


class Experiment(NamedTuple):
    """The parts of a run; `sources` is None where only predictions are wanted."""

    config: Config
    facts: DataFacts
    sources: data.Sources | None
    strategy: parallel.Strategy
    task: Task[Any]
    loop: Loop
    steps_per_epoch: int
    learning_rate: Callable[[int], float]
    resident: resident.Resident | None = None

    @property
    def kind(self) -> Kind:
        """What belongs to the task."""
        return kind_of(self.config)

    def with_seed(self, seed: int) -> Experiment:
        """The same run from another seed; it finds what was compiled for this one."""
        return self._replace(config={**self.config, "seed": seed})

    def feed(self, start_step: int) -> feeds.Feed:
        """What the loop feeds to the devices, from the step after `start_step` on."""
        if self.resident is None:
            batches = self.train_batches(start_step)
            return feeds.HostFeed(batches, self.strategy, self.for_step)
        loader = self.config["loader"]
        return feeds.ResidentFeed(
            self.resident,
            self._sources().train,
            self.strategy,
            preprocess=self.preprocess(),
            seed=self.config["seed"],
            batch_size=loader["batch_size"],
            start_step=start_step,
            num_threads=loader["num_threads"],
        )

    def train_batches(self, start_step: int) -> Generator[HostBatch, None, None]:
        """This host's training batches from the one of step `start_step` on, without end."""
        return call(
            self.config,
            "loader",
            self._sources().train,
            self.augment(),
            seed=self.config["seed"],
            start_step=start_step,
            host=data.Host(*self.strategy.host),
        )

    def for_step(self, batch: HostBatch) -> HostBatch:
        """A training batch as the step takes it.

        Without weights, since none of its examples is padding, and with images of the computation's
        type: it rounds them first of all, so half the bytes go to the devices and lie there.
        """
        dtype = jnp.dtype(self.config["model"]["dtype"])
        images = batch["image"]
        if dtype.itemsize < images.dtype.itemsize:
            images = images.astype(dtype)
        rest = {name: x for name, x in batch.items() if name not in ("image", "weight")}
        return {"image": images, **rest}

    def eval_batches(self) -> Iterator[HostBatch]:
        """This host's evaluation batches: every example once, padding of weight 0."""
        return data.eval_batches(
            self._sources().eval,
            self.views(),
            # Any size is legal, since padding fills what the devices cannot share.
            batch_size=self.shared(call(self.config, "evaluation").batch_size),
            host=data.Host(*self.strategy.host),
            num_threads=self.config["loader"]["num_threads"],
        )

    def augment(self) -> data.ByEpoch:
        """A picture of any size -> what the model sees of it in an epoch of training."""
        return call(self.config, "by_epoch", make_augment(self.config))

    def views(self) -> Callable[[np.ndarray], np.ndarray]:
        """A picture of any size -> what the model sees of it outside training, once or in views."""
        return data.make_views(self.preprocess(), call(self.config, "evaluation").views)

    def preprocess(self) -> data.Preprocess:
        """A picture of any size -> what the model sees of its centre, outside training."""
        return make_preprocess(self.config)

    def shared(self, batch_size: int) -> int:
        """The next batch size from `batch_size` on that the devices can share."""
        count = self.strategy.num_parts
        return -(-batch_size // count) * count

    def blank_batch(self, batch_size: int, image_size: int = 0) -> HostBatch:
        """A batch of zeros, for its shapes; an `image_size` of 0 is the evaluation's."""
        section = self.config["preprocess"]
        size = image_size or section["image_size"]
        return {
            "image": np.zeros((batch_size, size, size, section["channels"]), np.float32),
            **self.kind.blank(batch_size, size),
            "weight": np.ones(batch_size, np.float32),
        }

    def abstract_state(self) -> Any:
        """Shapes and types of the state before the first step, without computing anything.

        Raises:
            UserError: If the model cannot take such images, for instance since they are too small.
        """
        batch = self.blank_batch(self.config["loader"]["batch_size"])
        return jax.eval_shape(self.task.init, jax.random.key(0), batch)

    def check_sizes(self) -> None:
        """Tries the model on every size that images have in training, without computing anything.

        Raises:
            UserError: If it cannot take one of them.
        """
        sizes = set(self.augment().sizes_px) - {self.config["preprocess"]["image_size"]}
        state = self.abstract_state() if sizes else None
        for size in sorted(sizes):
            blank = self.blank_batch(self.config["loader"]["batch_size"], size)
            try:
                jax.eval_shape(self.task.evaluate, state, blank)
            except (UserError, FlaxError, TypeError, ValueError) as error:
                reason = str(error) if isinstance(error, UserError) else "its input size is fixed"
                raise UserError(
                    f"{self.config['model']['name']} cannot take the images of {size} pixels of "
                    f"by_epoch.sizes_px: {reason}"
                ) from error

    def initial(self) -> initialise.Initial | None:
        """What the training starts from, as the section `init` says; None where from nothing."""
        if self.task.part is not None:
            return None
        known = facts.of_config(self.config, self.facts.class_names)
        state = self.abstract_state()
        student = state._replace(model_state=without_teacher(state.model_state))
        initial = call(self.config, "init", student, known)
        initial = call(self.config, "whitening", initial, student, known, self._example_images)
        teacher = call(self.config, "teacher", len(self.facts.class_names))
        return initial if teacher is None else teacher.joined(initial, state, known)

    def _example_images(self, count: int) -> np.ndarray:
        """So many training images, spread evenly over them, as the model sees them unchanged."""
        source, preprocess = self._sources().train, self.preprocess()
        count = min(count, len(source))
        places = [index * len(source) // count for index in range(count)]
        return np.stack([preprocess(source[place]["image"]) for place in places])

    def pictures(self, state: Any) -> np.ndarray | None:
        """Images that the task predicts beside the first batch of the evaluation split.

        Returns:
            float32 [images, height, width, channels], of all hosts; None where the task has none.
        """
        if not self.kind.pictured:
            return None
        predict = _make_predict(self.task, self.strategy, (self.kind.pictured,))
        laid_out = self.strategy.put(next(self.eval_batches()))
        return self.strategy.fetch_examples(predict(state, laid_out))[self.kind.pictured]

    def predicted(self, state: Any, batches: Iterable[HostBatch]) -> Iterator[HostBatch]:
        """Of each batch all but the images, and what is examined of the task's predictions.

        Of all hosts, in order.
        """
        predict = _make_predict(self.task, self.strategy, self.kind.examined)
        for batch in batches:
            laid_out = self.strategy.put(batch)
            known = {name: x for name, x in laid_out.items() if name != "image"}
            yield self.strategy.fetch_examples({**known, **predict(state, laid_out)})

    def subject(self, state: Any, step: int) -> subjects.Subject:
        """The run's network after `step`, for further evaluations."""
        return subjects.make_subject(
            self.task,
            self.strategy,
            state,
            preprocess=self.preprocess(),
            views=self.views(),
            seen=call(self.config, "evaluation").views,
            class_names=self.facts.class_names,
            step=step,
            batch_size=self.shared(call(self.config, "evaluation").batch_size),
            num_threads=self.config["loader"]["num_threads"],
        )

    def examine(self, state: Any, step: int) -> Any:
        """The task's whole-split evaluation: numbers, and examples worth a look."""
        predicted = self.predicted(state, self.eval_batches())
        examples = self._sources().eval
        if self.kind.as_fitted:
            examples = data.Mapped(examples, self.preprocess().fitted)
        found = self.kind.examine(
            lambda batch: batch, predicted, examples, self.facts.class_names, step
        )
        return found._replace(views=call(self.config, "evaluation").views)

    def _sources(self) -> data.Sources:
        if self.sources is None:
            raise ValueError("this experiment was built without its data")
        return self.sources


# As in `cnn.train`: runs from several seeds share it.
@functools.lru_cache(maxsize=4)
def _make_predict(
    task: Task[Any], strategy: parallel.Strategy, outputs: tuple[str, ...]
) -> Callable[..., Any]:
    def predict(state: Any, batch: Any) -> Any:
        predicted = task.predict(state, batch)
        return {name: predicted[name] for name in outputs}

    return strategy.predict(predict)


def model_of(experiment: Experiment) -> Any:
    """The network of a run, or its networks, on one device."""
    config, classes = experiment.config, len(experiment.facts.class_names)
    return call(config, "model", experiment.kind, num_classes=classes, axis_name=None)


def make_preprocess(config: Config) -> data.Preprocess:
    """A picture of any size -> what the model sees of its centre; also with masks and boxes."""
    return call(config, "boxes", call(config, "preprocess"))


def make_augment(config: Config) -> data.Augment:
    """The augmentation of images of the evaluation's size."""
    preprocess = call(config, "filters", call(config, "policy", make_preprocess(config)))
    augment = call(config, "scale_jitter", call(config, "augment", preprocess))
    augment = call(config, "mosaic", call(config, "borders", augment))
    if augment.mosaic is not None and kind_of(config).target != "boxes":
        raise UserError(f"mosaic.rate is for boxes of objects, not for {config['task']['name']}")
    return augment


def build(config: Config) -> Experiment:
    """All parts of a run. Raises UserErrors for whatever a user can have got wrong."""
    check_ready(config)
    sources = call(config, "proposals", call(config, "data"))
    check_target(sources.train.info, config)
    sources = sources._replace(train=call(config, "sampling", sources.train))
    facts = DataFacts(tuple(sources.train.info.class_names), len(sources.train), len(sources.eval))
    return build_without_data(config, facts)._replace(
        sources=sources, resident=_make_resident(config)
    )


def _make_resident(config: Config) -> resident.Resident | None:
    # Runs of older versions have no such section, and `evaluate` reads their configs.
    if "resident" not in config:
        return None
    section = config["preprocess"]
    augment = make_augment(config)
    by_epoch = call(config, "by_epoch", augment)
    made = call(
        config,
        "resident",
        augment.preprocess,
        config["augment"],
        (section["mean"], section["std"]),
        alternate_flips=by_epoch.alternate_flips,
    )
    if made is not None and augment.shorter_px is not None:
        raise UserError(
            "images on the devices (resident.enabled) have one scale; leave "
            "scale_jitter.shorter_px empty"
        )
    if made is not None and by_epoch.augments != (augment,):
        raise UserError(
            "images on the devices (resident.enabled) have one size; leave by_epoch.sizes_px empty"
        )
    return made


def build_without_data(
    config: Config, facts: DataFacts, devices: Sequence[Any] | None = None
) -> Experiment:
    """The parts that need no example: enough to restore a checkpoint and to predict.

    `devices` are those of the strategy, for instance of a topology to compile for; None means those
    that are here.
    """
    check_moved(config)
    check_generated(config)
    strategy = call(config, "parallel", devices)
    batch_size = config["loader"]["batch_size"]
    parallel.check_batch_size(batch_size, strategy.num_parts)
    steps_per_epoch = data.steps_per_epoch(facts.num_train, batch_size)
    loop = call(config, "train", steps_per_epoch)
    # A mistake in what only the first evaluation reads should not wait for it.
    data.make_views(make_preprocess(config), call(config, "evaluation").views)
    schedule = call(config, "schedule", loop.num_steps, steps_per_epoch)
    model = call(
        config,
        "model",
        kind_of(config),
        num_classes=len(facts.class_names),
        axis_name=strategy.axis_name,
    )
    optimizer = call(
        config,
        "optimizer",
        schedule,
        call(config, "regularization"),
        layers_above=functools.partial(models.layers_above, **config["model"]),
    )
    rate = config["optimizer"]["learning_rate"]
    free = call(config, "schedule_free", lambda step: rate * schedule(step))
    tx = optax.chain(
        optim.average_gradients(strategy.axis_name),
        free.optimizer(call(config, "rates", optimizer, steps_per_epoch)),
    )
    tx = call(config, "sharpness", tx, strategy.axis_name)
    parts = config["task"]["accumulate_steps"]
    if parts < 1 or batch_size % (parts * strategy.num_parts):
        raise UserError(
            f"a batch of {batch_size} over {strategy.num_parts} devices cannot be cut into "
            f"{parts} equal parts (task.accumulate_steps)"
        )
    teacher = call(config, "teacher", len(facts.class_names))
    task = call(config, "task", model, tx, strategy.gather, teacher)
    averaged = free.task(task)
    if averaged is not task and config["ema"]["decay"]:
        raise UserError("schedule_free.b1 evaluates an average of its own; set ema.decay=0")
    task = call(config, "ema", averaged, loop.num_steps)

    # As one program: one after another, its operations take as long as a small step.
    factor = jax.jit(schedule)

    def learning_rate(step: int) -> float:
        return float(rate * factor(jnp.asarray(step)))

    return Experiment(config, facts, None, strategy, task, loop, steps_per_epoch, learning_rate)


def make_evaluation(*, batch_size: int, views: str = "center") -> Evaluation:
    """How the evaluation split is seen, in training and by `cnn evaluate`.

    Args:
        batch_size: Examples in a batch over all hosts; it may be larger than the split. Of several
            views the network sees one after another, but a batch holds all.
        views: "center", "flip", "translate" or "ten_crop": see `cnn.data.make_views`.
    """
    return Evaluation(batch_size, views)


SECTIONS: dict[str, Callable[..., Any]] = {
    "data": data.open_sources,
    "proposals": data.make_proposals,
    "sampling": data.make_sampling,
    "preprocess": data.make_preprocess,
    "boxes": data.make_boxes,
    "policy": data.make_policy,
    "filters": data.make_filters,
    "augment": data.make_augment,
    "scale_jitter": data.make_scale_jitter,
    "borders": data.make_borders,
    "mosaic": data.make_mosaic,
    "by_epoch": data.make_by_epoch,
    "loader": data.train_batches,
    "resident": resident.make_resident,
    "evaluation": make_evaluation,
    "model": make_model,
    "init": initialise.load_initial,
    "whitening": whitening.whiten,
    "teacher": make_teacher,
    "task": make_task,
    "optimizer": optim.make_optimizer,
    "regularization": optim.make_decay,
    "schedule": optim.make_schedule,
    "rates": optim.with_rates,
    "schedule_free": optim.make_schedule_free,
    "sharpness": optim.with_sharpness,
    "ema": optim.with_ema,
    "train": make_loop,
    "checkpoint": checkpoint.Checkpoints,
    "parallel": parallel.make_strategy,
}
"""The function whose keyword-only arguments a section of the config is."""


def defaults(task: str = "classification") -> dict[str, Any]:
    """SECTION.KEY -> its default, as JSON holds it, of the keys that have one.

    Args:
        task: Whose keys the section `task` has.
    """
    options = {
        f"data.options.{kind}.{key}": default
        for kind, known in data.OPTIONS.items()
        for key, default in known.items()
    }
    options |= {f"task.distillation.{key}": value for key, value in distillation.DEFAULTS.items()}
    options |= {
        f"optimizer.options.{name}.{p.name}": p.default
        for name, function in optim.OPTIMIZERS.items()
        for p in inspect.signature(function).parameters.values()
    }
    found = options | {
        f"{section}.{p.name}": p.default
        for section, function in {**SECTIONS, "task": KINDS[task].knobs}.items()
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.default is not p.empty
    }
    return {key: list(x) if isinstance(x, tuple) else x for key, x in found.items()}


def call(config: Config, section: str, *args: Any, **derived: Any) -> Any:
    """Calls the function of a section with its values.

    Args:
        config: The whole config.
        section: A key of `SECTIONS`.
        *args: What the function needs besides.
        **derived: Keyword arguments that come from the run, not from the config.

    Raises:
        UserError: If the section is not there, or its keys are not those of the function.
    """
    function = SECTIONS[section]
    parameters = inspect.signature(function).parameters.values()
    keywords = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in derived}
    if section in config:
        values = config[section]
    elif any(p.default is p.empty for p in keywords.values()):
        raise UserError(f"the config has no section {section!r} (configs/base.py has one)")
    else:
        # Runs that are older than a section go on as if it had its defaults.
        values = {}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for key in values:
            if key not in keywords:
                raise unknown(f"key of config.{section}", key, keywords)
    for key, parameter in keywords.items():
        if parameter.default is parameter.empty and key not in values:
            raise UserError(f"config.{section} lacks {key!r} (configs/base.py has every key)")
    return function(*args, **derived, **values)
