"""A run with a teacher: from a file, in the state, in the report, and not among the weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models, pretrained
from cnn.core import TEACHER
from cnn.errors import UserError
from cnn.pretrained.facts import Facts
from cnn.pretrained.layout import paths_of
from tests import tiny

HARD = {"distillation": {"kind": "hard", "weight": 0.5, "temperature": 1.0}}


def written(path, num_classes):
    model = models.classifier("mlp_test", num_classes=num_classes)
    images = jnp.zeros((1, 28, 28, 1))
    variables = jax.jit(lambda: model.init(jax.random.key(3), images))()
    tensors = {"/".join(path): np.asarray(x) for path, x in paths_of(variables).items()}
    pretrained.write(path, tensors, Facts("mlp_test"))
    return str(path), tensors


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return written(tmp_path_factory.mktemp("teacher") / "ten.safetensors", 10)


def experiment(path, **sections):
    teacher = {"name": "mlp_test", "weights": path}
    model = {"name": "lenet_test"}
    return tiny.experiment(teacher=teacher, task=HARD, model=model, **sections)


def test_the_teachers_weights_are_put_into_the_state_and_the_report(weights):
    path, tensors = weights
    run = experiment(path)
    initial = run.initial()
    state = jax.device_get(jax.jit(run.task.init)(jax.random.key(0), run.blank_batch(2)))
    assert not np.any(state.model_state[TEACHER]["params"]["head"]["logits"]["kernel"])
    state = initial.apply(state)
    found = {"/".join(path): x for path, x in paths_of(state.model_state[TEACHER]).items()}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)
    report = initial.report
    assert report.notes == (f"taught by mlp_test of {path}",)
    assert set(report.loaded) == {f"{TEACHER}/{name}" for name in tensors}
    assert "params/head/logits/kernel" in report.missing


def test_a_student_may_start_from_weights_too(weights):
    path, tensors = weights
    teacher = {"name": "mlp_test", "weights": path}
    run = tiny.experiment(
        teacher=teacher, task=HARD, model={"name": "mlp_test"}, init={"weights": path}
    )
    report = run.initial().report
    assert set(report.loaded) == {*tensors, *(f"{TEACHER}/{name}" for name in tensors)}
    assert not report.missing


def test_without_its_weights_the_run_is_still_built(weights):
    # To go on, evaluate and predict: then the teacher is in the checkpoint.
    run = experiment("gone.safetensors")
    assert TEACHER in run.abstract_state().model_state
    with pytest.raises(UserError, match=r"no weights 'gone\.safetensors'"):
        run.initial()


def test_a_teacher_of_other_classes_is_refused(tmp_path):
    path, _ = written(tmp_path / "seven.safetensors", 7)
    with pytest.raises(UserError, match=r"mlp_test needs 'params/head/logits/.*run's classes"):
        experiment(path).initial()


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"name": "mlp_test"}, r"teacher\.name='mlp_test' and teacher\.weights='' go together"),
        ({"name": "mlp_tset", "weights": "x"}, "unknown model 'mlp_tset'; did you mean 'mlp_test'"),
    ],
)
def test_a_teacher_that_cannot_be_is_refused(teacher, message):
    with pytest.raises(UserError, match=message):
        tiny.experiment(teacher=teacher, task=HARD)
