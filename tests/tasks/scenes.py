"""Scenes of digits for the tests of dense tasks; a batch of them with boxes, for detection."""

import contextlib

import jax.numpy as jnp

from cnn import data


def open_scenes(**options):
    """Both splits, opened as a run opens them."""
    return data.open_sources(
        source="scenes",
        root="",
        name="",
        train_split="",
        eval_split="",
        eval_fraction=0.2,
        cache_mb=0,
        options={"scenes": options},
    )


SCENES = open_scenes(size_px=48, num_eval=8, max_digits=2, target="boxes")
CLASSES = len(SCENES.train.info.class_names)


def batch_of(count=8):
    """The first scenes; of each at most three objects."""
    preprocess = data.make_preprocess(image_size=48, channels=1, mean=(0.2,), std=(0.25,))
    preprocess = data.make_boxes(preprocess, max_boxes=3)
    batches = data.eval_batches(SCENES.eval, preprocess, batch_size=count)
    with contextlib.closing(batches):
        return {name: jnp.asarray(x) for name, x in next(batches).items()}
