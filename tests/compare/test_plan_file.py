"""What a comparison remembers of its plan."""

import json

import pytest

from cnn.compare import budget, plan_file, settings
from cnn.errors import UserError
from tests.compare import small


def test_a_plan_is_read_as_it_was_written(tmp_path):
    comparison = settings.read(small.config())
    groups = budget.plan(comparison, lambda name, config: 1.0)
    plan_file.write(tmp_path, comparison, groups, {"commit": "abc"})
    found = plan_file.read(tmp_path)
    assert found.seeds == (0, 1)
    assert found.budget == {"kind": "steps", "amount": 8}
    assert found.image_size == 28
    assert found.about == {"commit": "abc"}
    assert [row["folder"] for row in found.groups] == ["runs/cnn/1", "runs/vit/1"]
    assert [row["network"] for row in found.groups] == ["lenet_test", "vit_test"]
    assert found.groups[0]["step_macs"] == groups[0].step_macs
    assert json.loads((tmp_path / "plan.json").read_text())["recipes"] == comparison.recipes


def test_no_plan_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"holds no comparison \(no plan.json\)"):
        plan_file.read(tmp_path)


def test_a_step_is_timed_once(tmp_path):
    config = small.config()
    asked = []

    def measure(config, directory):
        asked.append(directory)
        return 0.25

    for _ in range(2):
        seconds = plan_file.remembered(tmp_path, measure)
        assert seconds("cnn", config) == 0.25
    assert asked == [tmp_path / "trial"]
    few = {**config, "sampling": {**config["sampling"], "fraction": 0.1}}
    plan_file.remembered(tmp_path, measure)("cnn", few)
    assert len(asked) == 2
