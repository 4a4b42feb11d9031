"""The network that teaches another: by name, with weights that are put into the run's state."""

from __future__ import annotations

from typing import NamedTuple

from cnn import models
from cnn.core import TEACHER, TrainState
from cnn.errors import UserError
from cnn.pretrained import facts as factual
from cnn.pretrained import network
from cnn.pretrained.facts import Facts
from cnn.pretrained.initialise import Initial, Report
from cnn.pretrained.layout import paths_of
from cnn.pretrained.source import open_weights


class Teacher(NamedTuple):
    """A network and where its weights are.

    Attributes:
        name: In the registry.
        weights: What `open_weights` opens.
        model: Images -> logits.
    """

    name: str
    weights: str
    model: models.Classifier

    def joined(self, initial: Initial | None, state: TrainState, run: Facts) -> Initial:
        """What a training starts from, with the teacher's weights.

        Args:
            initial: What it starts from without.
            state: Of the run before the first step; only shapes are read.
            run: Of the run.

        Raises:
            UserError: If the weights cannot be read, or are not of the teacher for the run's
                classes and channels.
        """
        opened = open_weights(self.weights)
        source = paths_of(network.variables_of(opened, self.name))
        wanted = paths_of(state.model_state[TEACHER])
        for path, leaf in wanted.items():
            if path not in source or source[path].shape != leaf.shape:
                have = source[path].shape if path in source else "nothing"
                raise UserError(
                    f"the teacher {self.name} needs {'/'.join(path)!r} of shape {leaf.shape}, and "
                    f"{self.weights} has {have}; a teacher has the run's classes and channels"
                )
        values = {(TEACHER, *path): source[path] for path in wanted}
        names = tuple("/".join(path) for path in values)
        notes = [*opened.notes, f"taught by {self.name} of {self.weights}"]
        if opened.facts.preprocess is not None and run.preprocess is not None:
            differs = factual.differences(opened.facts.preprocess, run.preprocess)
            if differs:
                notes.append(f"the teacher expects other images: {', '.join(differs)}")
        if initial is None:
            own = paths_of({"params": state.params, **state.model_state}).keys() - values.keys()
            missing = {"/".join(path): "drawn" for path in sorted(own)}
            return Initial(values, Report(self.weights, names, {}, missing, {}, tuple(notes)))
        report = initial.report
        loaded, notes = (*report.loaded, *names), [*report.notes, *notes]
        return Initial(
            {**initial.values, **values}, report._replace(loaded=loaded, notes=tuple(notes))
        )


def make_teacher(num_classes: int, *, name: str = "", weights: str = "") -> Teacher | None:
    """Who teaches; None where nobody does.

    Args:
        num_classes: Of the run.
        name: Of the teacher's network, in the registry; "" is nobody.
        weights: What `open_weights` opens: a file, `hf:OWNER/NAME`, the workdir of a run. It is
            read before the first step; from then on the teacher is in the checkpoints.

    Raises:
        UserError: For an unknown name, or where only one of the two is given.
    """
    if bool(name) != bool(weights):
        raise UserError(
            f"teacher.name={name!r} and teacher.weights={weights!r} go together; give both or none"
        )
    if not name:
        return None
    return Teacher(name, weights, models.classifier(name, num_classes=num_classes))
