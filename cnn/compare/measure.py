"""What a trained run says of each example, what it makes of changed images, and what it costs."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.errors import FlaxError
from jaxtyping import Float, Int

from cnn import data, train
from cnn.compare.corruptions import Condition, conditions, make_view
from cnn.compare.settings import Robustness
from cnn.errors import UserError
from cnn.evaluators import classification
from cnn.experiment import Experiment
from cnn.report import files

PREDICTIONS = "predictions.npz"
MEASURED = "measured.json"
COSTS = "costs.json"


class Predictions(NamedTuple):
    """Of every example of the evaluation split, in its order.

    `confidence` is the probability of the predicted class, `loss` the cross-entropy in nats.
    """

    label: Int[np.ndarray, " examples"]
    predicted: Int[np.ndarray, " examples"]
    confidence: Float[np.ndarray, " examples"]
    loss: Float[np.ndarray, " examples"]


class Measured(NamedTuple):
    """What `measure_run` found.

    Attributes:
        step: Of the state.
        num_examples: As it was asked for; see `Robustness`.
        predictions: On the split as it is.
        robustness: Accuracy in [0, 1] by condition; None where the model cannot take such images.
    """

    step: int
    num_examples: int
    predictions: Predictions
    robustness: tuple[tuple[Condition, float | None], ...]


def measure_run(
    experiment: Experiment, state: Any, step: int, robustness: Robustness, image_size: int
) -> Measured:
    """Predicts the evaluation split, and the changed images of a part of it.

    Args:
        experiment: The run, with its data.
        state: Trained, laid out.
        step: Of the state, for the record.
        robustness: What to try.
        image_size: What its pixels are of.
    """
    parts = [
        classification.measure(batch["logits"], batch["label"], batch["weight"])
        for batch in experiment.predicted(state, experiment.eval_batches())
    ]
    columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    labels, predicted, losses, confidence = columns
    found = Predictions(labels, predicted.astype(labels.dtype), confidence, losses)
    assert experiment.sources is not None
    source = data.spread_out(experiment.sources.eval, robustness.num_examples)
    accuracies = tuple(
        (condition, _accuracy(experiment, state, source, condition, image_size))
        for condition in conditions(robustness)
    )
    return Measured(step, robustness.num_examples, found, accuracies)


def is_measured(directory: pathlib.Path, step: int, robustness: Robustness) -> bool:
    """Whether the state after `step` has been measured, under these conditions."""
    found = load_measured(directory)
    return (
        found is not None
        and (found.step, found.num_examples) == (step, robustness.num_examples)
        and [condition for condition, _ in found.robustness] == list(conditions(robustness))
    )


def _accuracy(
    experiment: Experiment, state: Any, source: data.Source, condition: Condition, image_size: int
) -> float | None:
    view = make_view(condition, experiment.preprocess(), image_size)
    if condition.kind == "size" and not _takes(experiment, state, view, source):
        return None
    batches = data.eval_batches(
        source,
        view,
        batch_size=experiment.shared(
            min(experiment.config["evaluation"]["batch_size"], len(source))
        ),
        num_threads=experiment.config["loader"]["num_threads"],
    )
    right = count = 0
    for batch in experiment.predicted(state, batches):
        real = batch["weight"] > 0
        right += int((batch["logits"].argmax(axis=-1) == batch["label"])[real].sum())
        count += int(real.sum())
    return right / count


def _takes(
    experiment: Experiment,
    state: Any,
    view: Callable[[np.ndarray], np.ndarray],
    source: data.Source,
) -> bool:
    """Whether the model computes anything for images of that size, by their shape alone."""
    image = view(source[0]["image"])
    batch = {"image": jax.ShapeDtypeStruct((1, *image.shape), image.dtype)}
    one = jax.eval_shape(experiment.strategy.pack, state)
    try:
        jax.eval_shape(experiment.task.predict, one, batch)
    except (UserError, FlaxError, TypeError, ValueError):
        return False
    return True


def save_measured(directory: pathlib.Path, measured: Measured) -> None:
    """Writes `predictions.npz`, then `measured.json`, each whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **measured.predictions._asdict())
    files.write_atomically(directory / PREDICTIONS, buffer.getvalue())
    rows = [[*condition, accuracy] for condition, accuracy in measured.robustness]
    about = {"step": measured.step, "num_examples": measured.num_examples}
    write_json(directory / MEASURED, {**about, "robustness": rows})


def load_measured(directory: pathlib.Path) -> Measured | None:
    """What `save_measured` wrote; None where the run has not been measured.

    Raises:
        UserError: If a file is damaged.
    """
    content = files.read_json(directory / MEASURED)
    if content is None:
        return None
    try:
        with np.load(directory / PREDICTIONS) as arrays:
            predictions = Predictions(**{name: arrays[name] for name in Predictions._fields})
        rows = [(Condition(kind, float(x)), share) for kind, x, share in content["robustness"]]
        return Measured(content["step"], content["num_examples"], predictions, tuple(rows))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{directory / MEASURED} is damaged ({error!r}); delete it and compare again"
        ) from error


def step_bytes(experiment: Experiment, state: Any) -> int | None:
    """Memory of the compiled training step on a device: what it reads, makes and needs meanwhile.

    None where the strategy or the compiler does not say. What was compiled for the training is
    found, not compiled again.
    """
    step = train.make_step(experiment.task, experiment.strategy, experiment.resident)
    if not hasattr(step, "lower"):
        return None
    _, tally = train.blank_carry(experiment)
    key = experiment.strategy.share(jax.random.key(experiment.config["seed"]))
    with contextlib.closing(experiment.feed(0)) as feed:
        block, _ = feed.take(1, tally)
        compiled = step.lower(state, tally, block, key, *feed.shared).compile()  # type: ignore[attr-defined]
    memory = compiled.memory_analysis()
    if memory is None:
        return None
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return kept - memory.alias_size_in_bytes + memory.temp_size_in_bytes


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all; the same bytes for the same content."""
    files.write_atomically(path, json.dumps(content, indent=1).encode() + b"\n")
