"""Images a second of the forward pass, measured."""

from __future__ import annotations

import statistics
import time

import jax
import numpy as np

from cnn.evaluators.subject import Subject
from cnn.report.measurement import Measurement

ROUNDS = 20


def measure(subject: Subject, *, rounds: int = ROUNDS) -> Measurement:
    """The median of some rounds on a batch that lies on the devices; no data are read.

    With one device and whatever else the machine does: `cnn benchmark` compares with care.
    """
    blank = np.zeros((64, 64, subject.preprocess.channels), np.uint8)
    image = subject.views(blank)
    batch = subject.strategy.put(
        {
            "image": np.zeros((subject.batch_size, *image.shape), np.float32),
            "weight": np.ones(subject.batch_size, np.float32),
        }
    )
    seconds = []
    # The first compiles, and the second may still fill caches.
    for _ in range(rounds + 2):
        begun = time.perf_counter()
        jax.block_until_ready(subject.predict(subject.state, batch))
        seconds.append(time.perf_counter() - begun)
    median = statistics.median(seconds[2:])
    metrics = {
        "images_per_second": subject.batch_size / median,
        "milliseconds_per_batch": 1e3 * median,
        "slowest_milliseconds": 1e3 * max(seconds[2:]),
    }
    settings = {
        "batch": subject.batch_size,
        "image": "x".join(map(str, image.shape)),
        "device": jax.devices()[0].device_kind,
        "rounds": rounds,
    }
    return Measurement("throughput", subject.step, 0, settings, metrics)
