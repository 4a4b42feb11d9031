"""Data: sources of examples, decoding, augmentation, and the pipeline that makes batches."""

from cnn.data.augment import (
    Augment,
    alternating_flip,
    make_augment,
    make_borders,
    make_mosaic,
    make_scale_jitter,
)
from cnn.data.by_epoch import ByEpoch, make_by_epoch
from cnn.data.class_match import match_classes, open_part
from cnn.data.contract import (
    IGNORED,
    NO_OBJECT,
    ArraySource,
    Example,
    Source,
    SourceInfo,
    Sources,
    unmeasured,
)
from cnn.data.decode import read_image
from cnn.data.filters import make_filters
from cnn.data.pipeline import Host, drawn_order, eval_batches, steps_per_epoch, train_batches
from cnn.data.policy import make_policy
from cnn.data.prepare import prepare
from cnn.data.proposals import make_proposals
from cnn.data.sampling import Concatenation, Mapped, Subset, make_sampling, spread_out, stratified
from cnn.data.sizes import published_size
from cnn.data.sources import OPTIONS, open_sources
from cnn.data.transforms import Preprocess, make_boxes, make_preprocess
from cnn.data.views import make_views

__all__ = [
    "IGNORED",
    "NO_OBJECT",
    "OPTIONS",
    "ArraySource",
    "Augment",
    "ByEpoch",
    "Concatenation",
    "Example",
    "Host",
    "Mapped",
    "Preprocess",
    "Source",
    "SourceInfo",
    "Sources",
    "Subset",
    "alternating_flip",
    "drawn_order",
    "eval_batches",
    "make_augment",
    "make_borders",
    "make_boxes",
    "make_by_epoch",
    "make_filters",
    "make_mosaic",
    "make_policy",
    "make_preprocess",
    "make_proposals",
    "make_sampling",
    "make_scale_jitter",
    "make_views",
    "match_classes",
    "open_part",
    "open_sources",
    "prepare",
    "published_size",
    "read_image",
    "spread_out",
    "steps_per_epoch",
    "stratified",
    "train_batches",
    "unmeasured",
]
