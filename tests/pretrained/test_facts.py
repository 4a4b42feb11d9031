import json

import pytest

from cnn.data import make_preprocess
from cnn.errors import UserError
from cnn.pretrained import facts
from cnn.pretrained.facts import Facts, Preprocessing
from tests import tiny

# As timm 1.0 writes it.
TIMM = {
    "architecture": "resnet50",
    "num_classes": 2,
    "pretrained_cfg": {
        "tag": "a1_in1k",
        "input_size": [3, 224, 224],
        "test_input_size": [3, 288, 288],
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "crop_mode": "center",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.25],
        "num_classes": 2,
    },
    "label_names": ["cat", "dog"],
}


def test_facts_survive_json():
    all_of_them = Facts("vit_b_16", {"pool": "gap"}, Preprocessing(384), ("a", "b"))
    for some in (all_of_them, Facts()):
        assert facts.from_json(facts.to_json(some), "here") == some


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"model": "", "fields": {}, "preprocess": {"x": 1}}']
)
def test_other_json_is_refused(text):
    with pytest.raises(UserError, match="the facts in here cannot be read"):
        facts.from_json(text, "here")


def test_facts_of_a_config_make_its_transform_again():
    config = tiny.config(model={"zero_init_last": True})
    found = facts.of_config(config, ("a", "b"))
    assert (found.model, found.fields) == ("resnet_test", {"zero_init_last": True})
    values = {**found.preprocess._asdict(), "channels": config["preprocess"]["channels"]}
    assert json.loads(json.dumps(values)) == config["preprocess"]


def test_timms_config_is_read():
    found = facts.of_timm(TIMM, "config.json")
    preprocess = found.preprocess
    assert (found.model, found.class_names) == ("resnet50", ("cat", "dog"))
    assert preprocess._replace(crop_fraction=0) == Preprocessing(
        224, (0.5, 0.4, 0.3), (0.2, 0.2, 0.25), 0, "bicubic", "shorter"
    )
    # timm resizes to floor(224 / 0.95) = 235.
    assert round(224 / preprocess.crop_fraction) == 235
    make_preprocess(channels=3, **preprocess._asdict())


def test_what_timm_says_otherwise():
    card = {**TIMM["pretrained_cfg"], "crop_mode": "squash", "interpolation": "random"}
    found = facts.of_timm({"architecture": "x", **card}, "config.json")
    assert (found.preprocess.resize, found.preprocess.interpolation) == ("stretch", "bilinear")
    assert found.class_names == ()


@pytest.mark.parametrize("lost", ["input_size", "crop_pct", "mean", "interpolation"])
def test_a_config_without_them_is_refused(lost):
    card = {key: value for key, value in TIMM["pretrained_cfg"].items() if key != lost}
    with pytest.raises(UserError, match=f"somewhere is no config.json of timm .*{lost}"):
        facts.of_timm({"pretrained_cfg": card}, "somewhere")


def test_differences_are_named_and_roundings_are_none():
    expected = Preprocessing(224, crop_fraction=0.875)
    assert facts.differences(expected, expected._replace(crop_fraction=224 / 256.1)) == []
    other = expected._replace(image_size=96, mean=(0.5,))
    assert facts.differences(expected, other) == [
        "image_size=224 (here 96)",
        "mean=(0.485, 0.456, 0.406) (here (0.5,))",
    ]
