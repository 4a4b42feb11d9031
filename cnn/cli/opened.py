"""Weights that a command was given, as a network with what it must know of its images."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnn.data import Preprocess
    from cnn.pretrained.network import Network


def open_network(spec: str, model: str) -> tuple[Network, Preprocess, tuple[str, ...]]:
    """(the network, how it sees pictures, the names of its classes); what is guessed is noted.

    Args:
        spec: As of `cnn.pretrained.open_weights`.
        model: The network's name; "" where the weights say it.

    Raises:
        UserError: If they are no weights of such a network.
    """
    from cnn import data, pretrained
    from cnn.pretrained import network as networks

    weights = pretrained.open_weights(spec)
    name = networks.name_of(weights, model, spec)
    network = networks.load(weights, name)
    notes, facts = list(weights.notes), weights.facts
    expected, class_names = facts.preprocess, facts.class_names
    if expected is None:
        expected = networks.default_preprocessing(name, network.channels)
        notes.append(
            "the weights do not say what images they expect; taking ImageNet's usual "
            + ", ".join(f"{key} {value}" for key, value in expected._asdict().items())
        )
    if len(class_names) != network.num_classes:
        class_names = tuple(map(str, range(network.num_classes)))
        notes.append("the weights do not name their classes; showing numbers")
    for note in notes:
        sys.stderr.write(f"note: {note}\n")
    preprocess = data.make_preprocess(channels=network.channels, **expected._asdict())
    return network, preprocess, class_names
