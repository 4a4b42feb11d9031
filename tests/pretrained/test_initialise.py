"""Training from weights: what is loaded, adapted, left, refused."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models, pretrained, train
from cnn.cli import workdir
from cnn.core import TrainState
from cnn.errors import UserError
from cnn.optim import OPTIMIZERS
from cnn.pretrained import facts, initialise
from cnn.pretrained.facts import Facts
from cnn.pretrained.layout import paths_of
from cnn.report.console import Console
from tests import tiny
from tests.models.rows import build, images

STEM = ("params", "backbone", "stem_conv", "kernel")


@pytest.fixture(scope="module")
def variables():
    """Of 5 classes and 3 channels; the run has 10 and 1."""
    return jax.tree.map(np.asarray, build("resnet_test", images("resnet_test", 1))[1])


@pytest.fixture(scope="module")
def file(variables, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "five.pth"
    pretrained.write(path, pretrained.to_torch("resnet_test", variables))
    return str(path)


@pytest.fixture(scope="module")
def experiment():
    return tiny.experiment()


@pytest.fixture(scope="module")
def abstract(experiment):
    return experiment.abstract_state()


def load(experiment, abstract, **options):
    run = facts.of_config(experiment.config, experiment.facts.class_names)
    values = {"head": "auto", "channels": "sum", "skip": (), **options}
    return initialise.load_initial(abstract, run, **values)


def test_no_weights_is_nothing(experiment, abstract):
    assert load(experiment, abstract, weights="") is None


def test_every_array_is_in_the_report(experiment, abstract, file, variables):
    found = load(experiment, abstract, weights=file)
    report = found.report
    kernel, bias = "params/head/logits/kernel", "params/head/logits/bias"
    stem = "/".join(STEM)
    assert report.adapted == {stem: "sum over channels, 3 -> 1"}
    assert set(report.missing) == set(report.skipped) == {kernel, bias}
    assert report.missing[kernel] == "a new head, (16, 5) -> (16, 10)"
    everything = {"/".join(path) for path in paths_of(variables)}
    assert set(report.loaded) == everything - {stem, kernel, bias}
    assert report.headline() == (
        f"{len(report.loaded)} arrays loaded from {file}; 1 adapted (first {stem}: sum over "
        f"channels, 3 -> 1); 2 missing (first {bias}: a new head, (5,) -> (10,)); 2 skipped "
        f"(first {bias}: a new head, (5,) -> (10,))"
    )
    assert found.values.keys() == {tuple(path.split("/")) for path in {*report.loaded, stem}}
    for path, value in found.values.items():
        if path != STEM:
            np.testing.assert_array_equal(value, paths_of(variables)[path])


def test_summed_channels_compute_on_gray_what_the_network_did_on_rgb(
    experiment, abstract, file, variables
):
    kernel = load(experiment, abstract, weights=file).values[STEM]
    gray = np.random.default_rng(0).standard_normal((2, 8, 8, 1), np.float32)
    rgb = jnp.repeat(gray, 3, axis=-1)

    def conv(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    want = conv(rgb, paths_of(variables)[STEM])
    np.testing.assert_allclose(conv(gray, kernel), want, atol=1e-5)
    mean = load(experiment, abstract, weights=file, channels="mean").values[STEM]
    np.testing.assert_allclose(mean, kernel / 3, rtol=1e-6)


def test_one_channel_becomes_three_of_the_same_sum(tmp_path):
    _, one = build("resnet_test", images("resnet_test", 1)[..., :1])
    pretrained.write(tmp_path / "one.pth", pretrained.to_torch("resnet_test", one))
    rgb = tiny.experiment(preprocess={"channels": 3})
    for how, scale in (("sum", 1 / 3), ("mean", 1)):
        found = load(
            rgb, rgb.abstract_state(), weights=str(tmp_path / "one.pth"), channels=how, head="new"
        )
        want = np.repeat(paths_of(one)[STEM], 3, axis=2) * scale
        np.testing.assert_allclose(found.values[STEM], want, rtol=1e-6)


def test_skipped_and_new_may_be_absent(experiment, abstract, tmp_path, variables):
    state = pretrained.to_torch("resnet_test", variables)
    del state["fc.weight"], state["fc.bias"]
    pretrained.write(tmp_path / "body.pth", state)
    weights = str(tmp_path / "body.pth")
    for options in ({"head": "new"}, {"skip": ("head/*",)}):
        report = load(experiment, abstract, weights=weights, **options).report
        assert set(report.missing) == {"params/head/logits/kernel", "params/head/logits/bias"}
        assert not report.skipped
    with pytest.raises(UserError, match=r"lacks 'fc\.weight'"):
        load(experiment, abstract, weights=weights)
    report = load(experiment, abstract, weights=weights, skip=("head/*", "*/norm0/*")).report
    assert {path.split("/")[-2] for path in report.skipped} == {"norm0"}
    assert any(path.startswith("batch_stats/") for path in report.skipped)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "old"}, "unknown value of init.head 'old'"),
        ({"channels": "max"}, "unknown value of init.channels 'max'"),
        ({"channels": "error"}, r"five\.pth is for images of 3 channels, and these have 1; .*sum"),
        ({"head": "keep"}, "'params/head/logits/.*another number of classes; init.head=auto"),
        ({"weights": "nowhere"}, "no weights 'nowhere'"),
    ],
)
def test_what_does_not_fit_is_refused(experiment, abstract, file, options, message):
    with pytest.raises(UserError, match=message):
        load(experiment, abstract, **{"weights": file, **options})


def test_another_shape_is_refused_by_its_path(abstract, tmp_path):
    _, wide = build("resnet_test", images("resnet_test", 1), widths=(8, 24))
    arrays = {"/".join(path): np.asarray(array) for path, array in paths_of(wide).items()}
    pretrained.write(tmp_path / "wide.safetensors", arrays)
    with pytest.raises(UserError, match=r"'params/backbone/stage1_block0/conv0/kernel' has shape"):
        load(tiny.experiment(), abstract, weights=str(tmp_path / "wide.safetensors"))


def test_other_images_and_other_classes_are_said(experiment, abstract, file, tmp_path):
    weights = pretrained.read(file)
    run = facts.of_config(experiment.config, experiment.facts.class_names)
    expected = run.preprocess._replace(interpolation="bicubic")
    pretrained.write(tmp_path / "x.pth", weights.tensors, Facts("resnet_test", {}, expected))
    report = load(experiment, abstract, weights=str(tmp_path / "x.pth")).report
    (note,) = report.notes
    assert note == (
        "the weights expect other images: preprocess.interpolation='bicubic' (here 'bilinear')"
    )
    _, ten = build("resnet_test", images("resnet_test", 1))
    ten["params"]["head"]["logits"] = {
        "kernel": np.ones((16, 10), np.float32),
        "bias": np.ones(10, np.float32),
    }
    state = pretrained.to_torch("resnet_test", ten)
    letters = Facts("resnet_test", {}, run.preprocess, tuple("abcdefghij"))
    pretrained.write(tmp_path / "ten.pth", state, letters)
    for head, count in (("auto", 1), ("new", 0)):
        options = {"weights": str(tmp_path / "ten.pth"), "head": head}
        notes = load(experiment, abstract, **options).report.notes
        assert len(notes) == count
        assert all("begin with a, b, c, the run's with 0, 1, 2" in note for note in notes)


@pytest.mark.parametrize("strategy", ["mesh", "pmap"])
def test_a_run_starts_from_the_values_and_so_does_its_average(file, tmp_path, strategy):
    started = tiny.experiment(
        init={"weights": file, "channels": "sum"},
        parallel={"strategy": strategy, "num_devices": 2},
        # So that what is saved after the first step is what it started from.
        optimizer={"learning_rate": 0.0},
        train={"num_steps": 1, "checkpoint_every_steps": 1, "eval_every_steps": 1},
    )
    initial = workdir.initial(tmp_path, started)
    with Console(1, 1, log_every_steps=1) as console:
        train.train(started, tmp_path, console, initial=initial)
    with train.open_checkpoints(started, tmp_path, lambda _: None) as checkpoints:
        _, carry = checkpoints.restore(None)
    params = paths_of({"params": carry["state"]["params"]})
    averaged = paths_of({"params": carry["state"]["ema"][0]})
    for path, value in initial.values.items():
        if path[0] == "params":
            np.testing.assert_array_equal(params[path], value.astype(np.float32))
            np.testing.assert_allclose(averaged[path], params[path], rtol=1e-6)
    assert ("params", "head", "logits", "kernel") in params.keys() - initial.values.keys()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with an average, whose workdir another starts from."""
    directory = tmp_path_factory.mktemp("run")
    experiment = tiny.experiment()
    workdir.record(directory, experiment)
    with Console(6, 1, log_every_steps=1) as console:
        train.train(experiment, directory, console)
    return directory


def test_a_run_can_start_from_another_and_a_resumed_one_does_not_load_again(run, tmp_path):
    started = tiny.experiment(init={"weights": str(run)})
    initial = workdir.initial(tmp_path, started)
    with train.open_checkpoints(started, run, lambda _: None) as checkpoints:
        _, carry = checkpoints.restore(None)
    # What its evaluation used: the average.
    params, model_state = carry["state"]["ema"]
    want = paths_of({"params": params, **model_state})
    assert initial.values.keys() == want.keys()
    for path, value in want.items():
        np.testing.assert_array_equal(initial.values[path], value)
    workdir.record(tmp_path, started, initial)
    listed = json.loads((tmp_path / "init.json").read_text())
    assert listed["weights"] == str(run)
    assert len(listed["loaded"]) == len(want)
    shutil.copytree(run / "checkpoints", tmp_path / "checkpoints")
    assert workdir.initial(tmp_path, started) is None


def test_a_run_without_a_checkpoint_and_a_directory_without_a_run_are_refused(run, tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        pretrained.open_weights(str(tmp_path))
    for name in ("config.json", "dataset.json"):
        shutil.copy(run / name, tmp_path)
    with pytest.raises(UserError, match=r"no checkpoint in .* yet"):
        pretrained.open_weights(str(tmp_path))
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_no_optimizer_remembers_the_parameters_it_was_made_with(name):
    """Or the loaded ones would have to be told to it."""
    experiment = tiny.experiment(optimizer={"name": name})
    batch = jax.tree.map(jnp.asarray, experiment.blank_batch(1))
    init = jax.jit(experiment.task.init)
    one, other = (jax.tree.leaves(init(jax.random.key(i), batch).opt_state) for i in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_positions_of_images_of_another_size_are_for_the_model_to_resample(tmp_path):
    x = images("vit_test", 1)
    variables = jax.tree.map(np.asarray, build("vit_test", x)[1])
    pretrained.write(tmp_path / "x.pth", pretrained.to_torch("vit_test", variables))

    def start(**fields):
        model = models.classifier("vit_test", num_classes=5, **fields)
        larger = jnp.zeros((1, 48, 48, 3))
        params = jax.eval_shape(model.init, jax.random.key(0), larger)["params"]
        state = TrainState(jnp.zeros((), jnp.int32), params, {}, None)
        options = {"weights": str(tmp_path / "x.pth"), "head": "auto", "channels": "error"}
        return initialise.load_initial(state, Facts("vit_test", fields), skip=(), **options)

    with pytest.raises(UserError, match=r"position_embedding' has .*model\.position_grid="):
        start()
    assert "params/backbone/position_embedding" in start(position_grid=[4, 4]).report.loaded
