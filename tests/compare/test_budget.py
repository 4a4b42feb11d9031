"""One budget for all: how many steps each model gets from it."""

import jax
import jax.numpy as jnp
import pytest

from cnn import experiment as experiments
from cnn import macs
from cnn.compare import budget, settings
from cnn.errors import UserError
from tests.compare import small


def never(name, config):
    raise AssertionError(f"{name} was timed")


def plan(step_seconds=never, **changes):
    return budget.plan(settings.read(small.config(**changes)), step_seconds)


def two_batches():
    """The ViT's recipe with half the base's batch of 32."""
    models = {name: dict(recipe) for name, recipe in small.MODELS.items()}
    models["vit"]["loader"] = {"batch_size": 16}
    return models


def lengths(groups):
    return {group.model: group.num_steps for group in groups}


def test_equal_steps():
    assert lengths(plan(models=two_batches(), budget={"amount": 30})) == {"cnn": 30, "vit": 30}


def test_equal_images():
    asked = {"kind": "images", "amount": 640}
    assert lengths(plan(models=two_batches(), budget=asked)) == {"cnn": 20, "vit": 40}


def test_equal_macs_to_half_a_step():
    groups = plan(budget={"kind": "macs", "amount": 1e9})
    for group in groups:
        assert abs(group.num_steps * group.step_macs - 1e9) <= group.step_macs / 2
    assert len(set(lengths(groups).values())) == 2


def test_equal_seconds_ask_for_the_time_of_a_step():
    asked = {"kind": "seconds", "amount": 10}
    times = {"cnn": 0.5, "vit": 0.1}
    found = plan(lambda name, config: times[name], budget=asked)
    assert lengths(found) == {"cnn": 20, "vit": 100}


def test_costs_are_counted_on_the_network_and_on_its_step():
    (group, _) = plan()
    experiment = experiments.build(group.config)
    batch = jax.tree.map(jnp.asarray, dict(experiment.blank_batch(32)))
    state = experiment.task.init(jax.random.key(0), batch)
    assert group.parameters == sum(x.size for x in jax.tree.leaves(state.params))
    one = {"image": batch["image"][:1]}
    assert group.macs == macs.count(experiment.task.predict, state, one)
    # Forward, and twice as much backward but for the gradient by the image.
    assert 2 < group.step_macs / (32 * group.macs) < 3
    assert group.kind == "CNN"


def test_kinds_follow_from_the_families():
    models = {name: {"model": {"name": name}} for name in ("mlp_test", "vit_test", "resnet_test")}
    models["vit_test"]["model"]["patch_size"] = 7
    assert [group.kind for group in plan(models=models)] == ["MLP", "ViT", "CNN"]


def test_a_share_of_the_examples_has_the_same_steps_and_schedule():
    config = small.config(fractions=[0.005, 0.1, 1.0], budget={"amount": 500})
    config["schedule"] |= {"warmup_epochs": 2.0, "decay_epochs": [1.0, 3.0]}
    few, some, whole = budget.plan(settings.read(config), never)[:3]
    assert [group.fraction for group in (few, some, whole)] == [0.005, 0.1, 1.0]
    assert [group.num_train for group in (few, some, whole)] == [20, 400, 4000]
    # No more than there are.
    assert [group.batch_size for group in (few, some, whole)] == [20, 32, 32]
    assert [group.num_steps for group in (few, some, whole)] == [500, 500, 500]
    for group, per_epoch in ((few, 1), (some, 12), (whole, 125)):
        schedule = group.config["schedule"]
        assert schedule["warmup_epochs"] * per_epoch == pytest.approx(250)
        assert [x * per_epoch for x in schedule["decay_epochs"]] == pytest.approx([125, 375])


def test_evaluations_are_as_many_as_asked_for():
    (group, _) = plan(budget={"amount": 30}, evaluations=4)
    assert group.config["train"]["eval_every_steps"] == 8
    assert group.config["train"]["log_every_steps"] == 8
    (group, _) = plan(budget={"amount": 3}, evaluations=10)
    assert group.config["train"]["eval_every_steps"] == 1


def model(**values):
    return {"models": {"one": {"model": values}}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (model(name="lenet6"), "compare.models.one: unknown model 'lenet6'; did you mean 'lenet5'"),
        (model(name="vit_test"), "compare.models.one: images of 28x28 are no whole number of 8"),
        (model(name="lenet_test", width=3), "unknown field of lenet_test 'width'"),
        (
            {"budget": {"kind": "macs", "amount": 1e3}},
            "compare.models.cnn: a step takes",
        ),
        ({"budget": {"kind": "images", "amount": 10}}, "a step takes 32 images, more than the"),
    ],
)
def test_a_mistake_is_one_line_with_the_models_name(changes, message):
    with pytest.raises(UserError) as caught:
        plan(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_step_is_timed_by_a_short_training_that_leaves_nothing(tmp_path):
    (group, _) = plan()
    seconds = budget.measure_step_seconds(group.config, tmp_path / "trial")
    assert 0 < seconds < 10
    assert not list(tmp_path.iterdir())
