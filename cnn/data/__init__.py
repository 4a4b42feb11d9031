"""Data: sources of examples, decoding, augmentation, and the pipeline that makes batches."""

from cnn.data.contract import ArraySource, Example, Source, SourceInfo, Sources
from cnn.data.pipeline import eval_batches, steps_per_epoch, train_batches
from cnn.data.sources import open_sources

__all__ = [
    "ArraySource",
    "Example",
    "Source",
    "SourceInfo",
    "Sources",
    "eval_batches",
    "open_sources",
    "steps_per_epoch",
    "train_batches",
]
