"""The kept table of facts; of classifiers the contract's tests count every row again."""

import importlib.resources

import pytest

from cnn import detectors, generators, heads, models
from cnn.errors import UserError
from tests.detectors.test_networks import COUNTS as DETECTORS
from tests.generators.counts import COUNTS as GENERATORS
from tests.heads.test_heads import COUNTS as SEGMENTERS
from tests.models.macs import CHANGED, GIGA_MACS, rounded_like

PUBLISHED_GIGA_MACS = {
    "retinanet_resnet50_fpn": "151.540",
    "fasterrcnn_resnet50_fpn": "134.380",
    "maskrcnn_resnet50_fpn": "134.380",
    "ssd300_vgg16": "34.858",
}
"""As torchvision publishes them with its weights."""

OTHERS = [name for task in models.TASKS[1:] for name in models.registered(task)]


def cheapest():
    """The networks of tests, and the smallest by products of each head, detector and generator."""
    found = {}
    for info in map(models.describe, OTHERS):
        key = (info.task, info.family)
        if not info.name.endswith("_test") and (key not in found or info.macs < found[key].macs):
            found[key] = info
    tests = [name for name in OTHERS if name.endswith("_test")]
    return [*tests, *(info.name for info in found.values())]


def test_the_table_has_every_network():
    text = importlib.resources.files(models).joinpath("table.csv").read_text("utf-8")
    assert [line.partition(",")[0] for line in text.splitlines()[1:]] == [*models.registered()]
    # A name says which task it is of.
    assert len({*models.registered()}) == len(models.registered())
    assert models.registered("classification") == models.names()
    with pytest.raises(UserError, match="unknown task 'detect'; did you mean 'detection'"):
        models.registered("detect")


@pytest.mark.parametrize("name", OTHERS)
def test_where_a_network_comes_from(name):
    info, source = models.describe(name), models.source(name)
    registry = {"segmentation": heads, "detection": detectors, "generation": generators}[info.task]
    assert name in registry.names()
    assert info.family == registry.family_of(name)
    assert info._asdict() == {**info._asdict(), **source._asdict()}


def test_parameters_are_the_published_ones():
    generators_alone = {name: counts["generator"] for name, counts in GENERATORS.items()}
    segmenters = {name: trained for name, (trained, _) in SEGMENTERS.items()}
    for name, count in {**segmenters, **DETECTORS, **generators_alone}.items():
        assert models.describe(name).parameters == count, name


def test_products_are_the_published_ones():
    for name, published in PUBLISHED_GIGA_MACS.items():
        assert rounded_like(published, models.describe(name).macs) == published


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", cheapest())
def test_other_tasks_networks_are_as_kept(name):
    # If not: `cnn models --measure --csv > cnn/models/table.csv`, and look at the difference.
    assert models.measure(name) == models.describe(name)


def test_an_unknown_name_is_compared_with_those_of_all_tasks():
    for name, near in (("retinanet", "retinanet_test"), ("pix2pixx", "pix2pix")):
        for function in (models.source, models.describe, models.measure, models.kind_of):
            with pytest.raises(UserError, match=f"unknown model '{name}'; did you mean '{near}'"):
                function(name)


def test_the_references_are_of_known_networks():
    assert set(GIGA_MACS) <= set(models.names())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["lenet5", "googlenet", "mobilenet_v3_small", "vit_ti_16"])
def test_measuring_gives_what_is_kept(name):
    assert models.measure(name) == models.describe(name)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("name", "changes", "size", "expected"), CHANGED)
def test_macs_of_a_changed_network(name, changes, size, expected):
    info = models.measure(name, image_size=size, **changes)
    assert rounded_like(expected, info.macs) == expected
