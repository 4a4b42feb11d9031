"""What holds for every registered generator."""

import pathlib

import jax
import jax.numpy as jnp
import pytest

from cnn import generators, models
from cnn.errors import UserError
from tests.generators.counts import COUNTS

PAIRED = ("pix2pix",)
"""Families whose discriminators see what is given too."""


def shapes(name, **fields):
    networks = models.generator(name, **fields)
    source = generators.family(name).source(name)
    size = getattr(networks.generator, "latent_size", None)
    shape = (source.image_size, source.image_size, source.channels) if size is None else (size,)
    given = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    made, of_generator = jax.eval_shape(
        networks.generator.init_with_output, jax.random.key(0), given
    )
    judged = made
    if generators.family_of(name) in PAIRED:
        judged = jax.ShapeDtypeStruct((*made.shape[:3], 2 * made.shape[3]), made.dtype)
    others = {
        part: jax.eval_shape(getattr(networks, part).init_with_output, jax.random.key(0), judged)
        for part in generators.PARTS[1:]
        if getattr(networks, part) is not None
    }
    return source, made, {"generator": (made, of_generator), **others}


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", COUNTS)
def test_parameters_and_shapes(name):
    source, images, found = shapes(name)
    assert images.shape == (2, source.image_size, source.image_size, source.channels)
    assert {part: count(variables) for part, (_, variables) in found.items()} == COUNTS[name]


def test_the_tables_are_complete():
    tests = {name for name in generators.names() if name.endswith("_test")}
    assert {*COUNTS} == {*generators.names()} - tests
    files = {path.stem for path in pathlib.Path(generators.__file__).parent.glob("[a-z]*.py")}
    assert {generators.family_of(name) for name in tests} == files - {
        "doubling",
        "initial",
        "patch_gan",
    }
    for name in generators.names():
        assert name in generators.family(name).VARIANTS


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("dcgam", {}, "unknown generator 'dcgam'; did you mean 'dcgan'"),
        ("dcgan", {"chanels": 1}, "unknown field of dcgan 'chanels'; did you mean 'channels'"),
        ("dcgan", {"norm_group_size": -1}, "norm_group_size must be at least 0"),
    ],
)
def test_mistakes_are_one_clear_line(name, fields, message):
    with pytest.raises(UserError, match=message):
        models.generator(name, **fields)
