"""The section `compare`: recipes over the base, and one line for each mistake."""

import inspect

import pytest

from cnn.compare import settings
from cnn.errors import UserError
from configs import base
from tests.compare import small


def test_section_lists_every_knob():
    listed = base.get_comparison().to_dict()
    parameters = inspect.signature(settings.make_comparison).parameters.values()
    assert set(listed) == {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert set(listed["budget"]) == set(settings.Budget._fields)
    assert set(listed["robustness"]) == set(settings.Robustness._fields)


def test_recipes_change_what_they_name_and_nothing_else():
    config = small.config()
    config["compare"]["models"]["cnn"]["optimizer"]["options"] = {"adamw": {"b2": 0.9}}
    found = settings.read(config)
    cnn, vit = (found.recipes[name] for name in ("cnn", "vit"))
    assert "compare" not in cnn
    assert cnn["optimizer"]["options"]["adamw"] == {"b1": 0.9, "b2": 0.9, "eps": 1e-8}
    assert vit["optimizer"]["options"] == config["optimizer"]["options"]
    assert (cnn["optimizer"]["learning_rate"], vit["optimizer"]["learning_rate"]) == (2e-3, 1e-3)
    changed = {"model", "optimizer"}
    assert {key: cnn[key] for key in cnn if key not in changed} == {
        key: config[key] for key in config if key not in changed | {"compare"}
    }


def test_fields_of_the_base_network_go_only_with_its_name():
    config = small.config(models={"a": {"model": {"activation": "relu"}}, "b": small.MODELS["cnn"]})
    config["model"] |= {"zero_init_last": True}
    found = settings.read(config).recipes
    assert found["a"]["model"] == {**config["model"], "activation": "relu"}
    assert found["b"]["model"] == {"name": "lenet_test", "dtype": "float32", "norm_group_size": 0}


def test_what_is_given_in_any_order_is_sorted():
    asked = small.config(fractions=[1.0, 0.1], robustness={"noise_stds": [0.3, 0.1]})
    found = settings.read(asked)
    assert found.fractions == (0.1, 1.0)
    assert found.robustness.noise_stds == (0.1, 0.3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": {}}, "compare.models is empty"),
        ({"models": {"a/b": {}}}, "has the name 'a/b', which names a folder"),
        ({"models": {"..": {}}}, "has the name '..', which names a folder"),
        ({"models": {"a": {"optimiser": {}}}}, "key of compare.models.a 'optimiser'; did you mean"),
        (
            {"models": {"a": {"optimizer": {"learning_rat": 1}}}},
            "key of compare.models.a.optimizer 'learning_rat'; did you mean 'learning_rate'",
        ),
        ({"models": {"a": {"optimizer": "sgd"}}}, "compare.models.a.optimizer is a section"),
        ({"models": {"a": {"data": {"source": "idx"}}}}, "changes 'data', which all models share"),
        ({"models": {"a": {"train": {"num_steps": 3}}}}, "changes 'train', which all models share"),
        ({"seeds": []}, "compare.seeds must be different numbers"),
        ({"seeds": [1, 1]}, "compare.seeds must be different numbers"),
        ({"seeds": [-1]}, "compare.seeds must be different numbers"),
        ({"fractions": [0.1]}, "compare.fractions must be different shares, 1 among them"),
        ({"fractions": [0.0, 1.0]}, "compare.fractions must be in (0, 1]"),
        ({"evaluations": 0}, "compare.evaluations must be at least 1"),
        ({"budget": {"kind": "flops"}}, "unknown compare.budget.kind 'flops'"),
        ({"budget": {"kind": "step"}}, "did you mean 'steps'"),
        ({"budget": {"amount": 0}}, "compare.budget.amount must be above 0"),
        ({"budget": {"amount": float("nan")}}, "compare.budget.amount must be above 0"),
        ({"budget": {"amounts": 3}}, "key of config.compare.budget 'amounts'"),
        ({"robustness": {"shift_px": [1]}}, "did you mean 'shifts_px'"),
        ({"robustness": {"noise_stds": [0.0]}}, "noise_stds must be different numbers above 0"),
        ({"robustness": {"num_examples": -1}}, "num_examples must be at least 0"),
    ],
)
def test_a_mistake_is_one_line(changes, message):
    with pytest.raises(UserError) as caught:
        settings.read(small.config(**changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_of_one_training_is_refused():
    config = small.config()
    del config["compare"]
    with pytest.raises(UserError, match="has no section 'compare'"):
        settings.read(config)


def test_a_missing_key_is_named():
    config = small.config()
    del config["compare"]["budget"]["kind"]
    with pytest.raises(UserError, match=r"config.compare.budget lacks 'kind'"):
        settings.read(config)
