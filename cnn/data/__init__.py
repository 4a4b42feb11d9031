"""Data: sources of examples, decoding, augmentation, and the pipeline that makes batches."""

from cnn.data.augment import alternating_flip, make_augment
from cnn.data.contract import ArraySource, Example, Source, SourceInfo, Sources
from cnn.data.decode import read_image
from cnn.data.pipeline import Host, drawn_order, eval_batches, steps_per_epoch, train_batches
from cnn.data.policy import make_policy
from cnn.data.prepare import prepare
from cnn.data.sampling import Concatenation, Subset, make_sampling
from cnn.data.sources import open_sources
from cnn.data.transforms import Preprocess, make_preprocess

__all__ = [
    "ArraySource",
    "Concatenation",
    "Example",
    "Host",
    "Preprocess",
    "Source",
    "SourceInfo",
    "Sources",
    "Subset",
    "alternating_flip",
    "drawn_order",
    "eval_batches",
    "make_augment",
    "make_policy",
    "make_preprocess",
    "make_sampling",
    "open_sources",
    "prepare",
    "read_image",
    "steps_per_epoch",
    "train_batches",
]
