"""Training that starts from weights: which arrays of a run come from where.

Everything is checked before anything changes, and every array has its line in the report: loaded,
adapted, missing (it stays as initialised) or skipped (of the weights, not used).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn import models
from cnn.core import TrainState
from cnn.errors import UserError, unknown
from cnn.pretrained import facts as factual
from cnn.pretrained import network
from cnn.pretrained.facts import Facts
from cnn.pretrained.files import Tensor, Weights
from cnn.pretrained.layout import Path, paths_of
from cnn.pretrained.source import open_weights

_HEADS = ("auto", "keep", "new")
_CHANNELS = ("error", "sum", "mean")
_PARTS = ("all", "backbone")
_CHOICES = {"head": _HEADS, "channels": _CHANNELS, "part": _PARTS}


class Report(NamedTuple):
    """What became of every array.

    Attributes:
        weights: As the user named them.
        loaded: Paths of the run's arrays that are the weights' own.
        adapted: Those that were made to fit, and how.
        missing: Those that stay as initialised, and why.
        skipped: What of the weights is not used, and why.
        notes: What the user should know besides.
    """

    weights: str
    loaded: tuple[str, ...]
    adapted: Mapping[str, str]
    missing: Mapping[str, str]
    skipped: Mapping[str, str]
    notes: tuple[str, ...]

    def headline(self) -> str:
        """All of it in one line."""
        counts = [f"{len(self.loaded)} arrays loaded from {self.weights}"]
        for kind in ("adapted", "missing", "skipped"):
            entries = getattr(self, kind)
            if entries:
                path, reason = next(iter(entries.items()))
                counts.append(f"{len(entries)} {kind} (first {path}: {reason})")
        return "; ".join(counts)


class Initial(NamedTuple):
    """Values for the state before the first step.

    Attributes:
        values: By path; what is not here stays as initialised.
        report: Of every array.
    """

    values: Mapping[Path, Tensor]
    report: Report

    def apply(self, state: TrainState) -> TrainState:
        """The state with the values in it; a moving average starts from them too.

        The optimizer's state stays: at the first step it does not depend on parameters.
        """

        def replaced(path: Any, leaf: Any) -> Any:
            value = self.values.get(tuple(key.key for key in path))
            return leaf if value is None else np.asarray(value, leaf.dtype)

        variables = {"params": state.params, **state.model_state}
        variables = jax.tree_util.tree_map_with_path(replaced, variables)
        params = variables.pop("params")
        # A copy, since two leaves that share a buffer cannot both be donated.
        ema = None if state.ema is None else jax.tree.map(np.copy, (params, variables))
        return state._replace(params=params, model_state=variables, ema=ema)


def load_initial(
    state: TrainState,
    run: Facts,
    *,
    weights: str,
    head: str,
    channels: str,
    skip: Sequence[str],
    part: str = "all",
) -> Initial | None:
    """The weights that a training starts from, fitted to it; None where it starts from nothing.

    Args:
        state: Of the run before the first step; only shapes and types are read.
        run: Of the run: its network, its images, its classes.
        weights: What `open_weights` opens: a file, `hf:OWNER/NAME`, the workdir of a run; "" is
            none.
        head: The layers whose shape follows the number of classes. `auto`: a new one where that
            number differs, else the weights'; `keep`: the weights', or an error; `new`: as
            initialised, and the weights may lack them.
        channels: Where the weights are for another number of channels than the run's images have:
            `error`; or the first kernel is summed (`sum`, which on gray images computes what the
            network computed on the same images in RGB) or averaged (`mean`) over the channels for
            one channel. For more it is repeated in turn, with `sum` scaled so that its sum is
            about the same.
        skip: Patterns (`head/*`, `*/norm?/bias`) of paths that stay as initialised, and that the
            weights may lack.
        part: `all`; or `backbone`, which of a segmenter's or detector's run are weights of a
            classifier: the rest stays as initialised.

    Raises:
        UserError: If the weights cannot be read, are of another network, lack an array, or have one
            too many or of another shape; names the first such.
    """
    _check_choices(head=head, channels=channels, part=part)
    if not weights:
        return None
    opened = open_weights(weights)
    if part == "backbone":
        return _of_backbone(state, run, opened, weights, channels)
    of_classes = _paths_of_classes(run)

    def skipped(path: Path) -> bool:
        # Without the collection, which is the same for none of a layer's arrays.
        return any(fnmatch.fnmatchcase("/".join(path[1:]), pattern) for pattern in skip)

    def may_lack(path: Path) -> bool:
        return skipped(path) or (head == "new" and path in of_classes)

    source = paths_of(network.variables_of(opened, run.model, may_lack, **run.fields))
    target = paths_of({"params": state.params, **state.model_state})
    new_head = head == "new" or (
        head == "auto"
        and any(path in source and source[path].shape != target[path].shape for path in of_classes)
    )
    values: dict[Path, Tensor] = {}
    adapted, missing, left = {}, {}, {}
    for path, leaf in target.items():
        name = "/".join(path)
        if skipped(path) or (new_head and path in of_classes):
            shapes = f"{source[path].shape} -> {leaf.shape}" if path in source else "not there"
            reason = f"init.skip, {shapes}" if skipped(path) else f"a new head, {shapes}"
            missing[name] = reason
            if path in source:
                left[name] = reason
            continue
        values[path], how = _fitted(path, source[path], leaf, run, weights, channels)
        if how:
            adapted[name] = how
    loaded = tuple(name for path in values if (name := "/".join(path)) not in adapted)
    notes = (*opened.notes, *_warnings(opened.facts, run, new_head))
    return Initial(values, Report(weights, loaded, adapted, missing, left, notes))


def _check_choices(**given: str) -> None:
    for key, value in given.items():
        if value not in _CHOICES[key]:
            raise unknown(f"value of init.{key}", value, _CHOICES[key])


def _of_backbone(
    state: TrainState, run: Facts, opened: Weights, weights: str, channels: str
) -> Initial:
    """A classifier's weights for the backbone of a run's network; only those are read.

    Raises:
        UserError: If the run's network is a classifier, or as `load_initial`.
    """
    if run.model not in (*models.segmenters(), *models.detectors()):
        raise UserError(
            f"init.part='backbone' is for segmenters and detectors, and {run.model} is none; "
            "init.head=new takes a classifier's weights without its head"
        )
    name, fields = models.backbone_of(run.model, **run.fields)
    source = paths_of(network.variables_of(opened, name, lambda path: path[1] == "head", **fields))
    values: dict[Path, Tensor] = {}
    adapted, missing = {}, {}
    for path, leaf in paths_of({"params": state.params, **state.model_state}).items():
        shown = "/".join(path)
        if path[1] != "backbone":
            missing[shown] = "init.part=backbone"
            continue
        values[path], how = _fitted(path, source[path], leaf, run, weights, channels)
        if how:
            adapted[shown] = how
    loaded = tuple(name for path in values if (name := "/".join(path)) not in adapted)
    left = {"/".join(path): "init.part=backbone" for path in source if path[1] != "backbone"}
    notes = (*opened.notes, *_warnings(opened.facts, run, new_head=True))
    return Initial(values, Report(weights, loaded, adapted, missing, left, notes))


def _paths_of_classes(run: Facts) -> set[Path]:
    """The arrays whose shape follows the number of classes."""
    source = models.source(run.model)
    images = jax.ShapeDtypeStruct(
        (1, source.image_size, source.image_size, source.channels), jnp.float32
    )

    def shapes(num_classes: int) -> dict[Path, Any]:
        model = models.network(run.model, num_classes=num_classes, **run.fields)
        made = jax.eval_shape(lambda key, x: model.init(key, x), jax.random.key(0), images)
        return {path: leaf.shape for path, leaf in paths_of(made).items()}

    two, three = shapes(2), shapes(3)
    return {path for path in two if two[path] != three[path]}


def _fitted(
    path: Path, value: Tensor, leaf: Any, run: Facts, weights: str, channels: str
) -> tuple[Tensor, str]:
    """The array in the run's shape, and how it was made to fit; "" where it was its own.

    Raises:
        UserError: If it cannot be, or only as `init.channels` does not say.
    """
    if value.shape == leaf.shape:
        return value, ""
    shapes = f"{value.shape} in {weights}, and {leaf.shape} in this run"
    if path == network.STEM and value[:, :, :1].shape == (*leaf.shape[:2], 1, leaf.shape[3]):
        have, want = value.shape[2], leaf.shape[2]
        if channels == "error":
            raise UserError(
                f"{weights} is for images of {have} channels, and these have {want}; "
                f"--config.init.channels=sum adapts the first kernel, or set "
                f"preprocess.channels={have}"
            )
        return _of_channels(value, want, channels), f"{channels} over channels, {have} -> {want}"
    if path in _paths_of_classes(run):
        raise UserError(
            f"{'/'.join(path)!r} has shape {shapes}: another number of classes; init.head=auto or "
            "new starts a new head"
        )
    hint = "init.skip leaves it as initialised"
    if path[-1] == "position_embedding":
        hint = "model.position_grid=(ROWS, COLUMNS) of the weights' patches has it resampled"
    raise UserError(f"{'/'.join(path)!r} has shape {shapes}; {hint}")


def _of_channels(kernel: Tensor, channels: int, how: str) -> Tensor:
    have = kernel.shape[2]
    wide = kernel.astype(np.promote_types(kernel.dtype, np.float32))
    if channels == 1:
        return (np.sum if how == "sum" else np.mean)(wide, axis=2, keepdims=True)
    repeated = wide[:, :, np.arange(channels) % have]
    # As timm does.
    return repeated * (have / channels) if how == "sum" else repeated


def _warnings(facts: Facts, run: Facts, new_head: bool) -> list[str]:
    found = []
    if facts.preprocess is not None and run.preprocess is not None:
        differs = factual.differences(facts.preprocess, run.preprocess)
        if differs:
            found.append(f"the weights expect other images: preprocess.{', '.join(differs)}")
    names = facts.class_names, run.class_names
    if not new_head and all(names) and names[0] != names[1]:
        found.append(
            f"as many classes, but others: the weights' begin with {', '.join(names[0][:3])}, the "
            f"run's with {', '.join(names[1][:3])}; init.head=new starts a new head"
        )
    return found
