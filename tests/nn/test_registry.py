"""What the registries of classifiers, segmenters, detectors and generators share."""

import sys

import pytest

from cnn import detectors, generators, heads, models, nn
from cnn.errors import UserError

FAMILIES = {"round": ("circle", "circle_test"), "flat": ("square",)}
ROUND = """
from cnn.nn import Source
VARIANTS = {"circle": {"width": 8, "depth": 2}, "circle_test": {"width": 2, "depth": 1}}
def source(name):
    return Source(f"Euclid, {name}", 1899)
"""


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """A registry whose package is on the path and forgotten afterwards."""
    package = tmp_path / "shapes"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "round.py").write_text(ROUND)
    (package / "flat.py").write_text('VARIANTS = {"square": {}}')
    monkeypatch.syspath_prepend(tmp_path)
    yield nn.Registry("shapes", "shape", FAMILIES)
    for name in [name for name in sys.modules if name.partition(".")[0] == "shapes"]:
        del sys.modules[name]


def test_names_are_known_without_importing_a_file(shapes):
    assert shapes.names() == ("circle", "circle_test", "square")
    assert shapes.names("round") == ("circle", "circle_test")
    assert shapes.families() == ("round", "flat")
    assert shapes.family_of("circle_test") == "round"
    assert not [name for name in sys.modules if name.startswith("shapes")]


def test_only_the_file_that_is_asked_for_is_imported(shapes):
    assert shapes.family("circle") is sys.modules["shapes.round"]
    assert "shapes.flat" not in sys.modules


def test_families_by_what_their_files_have(shapes):
    assert shapes.families("source") == ("round",)
    assert shapes.families("VARIANTS") == ("round", "flat")
    assert shapes.families("nothing") == ()


def test_a_variant_is_a_copy_of_its_row_with_overrides(shapes):
    assert shapes.variant("circle", depth=3, name="mine") == {
        "width": 8,
        "depth": 3,
        "name": "mine",
    }
    shapes.variant("circle").clear()
    assert shapes.variant("circle") == {"width": 8, "depth": 2}


def test_a_source_is_of_the_name(shapes):
    assert shapes.source("circle_test") == nn.Source("Euclid, circle_test", 1899)


@pytest.mark.parametrize("method", ["family_of", "family", "variant", "source"])
def test_an_unknown_name_is_one_line_that_names_the_nearest_and_all(shapes, method):
    with pytest.raises(UserError) as caught:
        getattr(shapes, method)("sqare")
    assert str(caught.value) == (
        "unknown shape 'sqare'; did you mean 'square'? (known: circle, circle_test, square)"
    )


def test_an_unknown_family(shapes):
    with pytest.raises(UserError, match=r"unknown family 'rond'; .*'round'\? \(known: flat, round"):
        shapes.names("rond")


@pytest.mark.parametrize(
    ("package", "kind", "got", "near"),
    [
        (models, "model", "resnet5", "resnet50"),
        (heads, "segmenter", "unett", "unet"),
        (detectors, "detector", "ssd300_vgg", "ssd300_vgg16"),
        (generators, "generator", "styelgan2", "stylegan2"),
    ],
)
def test_a_package_calls_its_networks_what_they_are(package, kind, got, near):
    with pytest.raises(UserError, match=f"unknown {kind} '{got}'; did you mean '{near}'"):
        package.family_of(got)
