"""Every config lists every knob, builds, and traces one update."""

import inspect
import json
import pathlib
import subprocess
import sys

import jax
import pytest

from cnn import experiment as experiments
from cnn import kinds
from cnn.cli import config_file
from cnn.errors import UserError
from configs import base

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "configs").rglob("*.py")
    if "def get_config(arg" in path.read_text()
)
# Tracing a large network takes seconds. Of ImageNet's recipes three are traced whole; the ledger's
# tests trace all of them on a small network of the family.
TRACED = [
    path
    for path in CONFIGS
    if not path.startswith("configs/imagenet/")
    or path.endswith(("/resnet50.py", "/convnext.py", "/vit.py"))
]
# What these functions are told by the run, not by the config.
DERIVED = {
    "loader": {"seed", "start_step", "host"},
    "model": {"num_classes", "axis_name"},
    "optimizer": {"layers_above"},
    "resident": {"alternate_flips"},
}


def keywords(function):
    return {
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


@pytest.mark.parametrize("section", sorted(experiments.SECTIONS))
def test_section_lists_every_knob_of_its_function(section):
    values = base.get_config()[section]
    if section == "task":
        function = kinds.KINDS[values.name].knobs
        assert set(values) - {"name"} == keywords(function)
    elif section == "model":
        assert {"name", "dtype", "norm_group_size"} == set(values)
    else:
        expected = keywords(experiments.SECTIONS[section]) - DERIVED.get(section, set())
        assert set(values) == expected


@pytest.mark.parametrize(
    "section",
    [
        base.get_segmentation,
        base.get_detection,
        base.get_gan,
        base.get_stylegan2,
        base.get_vae,
        base.get_pix2pix,
        base.get_cyclegan,
    ],
)
def test_section_of_a_task_lists_every_knob(section):
    values = section()
    assert set(values) - {"name"} == keywords(kinds.KINDS[values.name].knobs)


def test_sections_are_all_there_are():
    assert set(base.get_config()) == {*experiments.SECTIONS, "seed"}


def test_optimizer_options_list_every_option_with_its_default():
    from cnn.optim import OPTIMIZERS

    listed = base.get_config().optimizer.options
    assert set(listed) == set(OPTIMIZERS)
    for name, function in OPTIMIZERS.items():
        defaults = {p.name: p.default for p in inspect.signature(function).parameters.values()}
        assert listed[name].to_dict() == defaults, name


def test_mixing_lists_every_option_with_its_default():
    from cnn.tasks.mixing import DEFAULTS

    assert base.get_config().task.mixing.to_dict() == DEFAULTS


def test_distillation_lists_every_option_with_its_default():
    from cnn.tasks.distillation import DEFAULTS

    assert base.get_config().task.distillation.to_dict() == DEFAULTS


def test_data_options_list_every_option_with_its_default():
    from cnn.data.sources import OPTIONS

    assert base.get_config().data.options.to_dict() == OPTIONS


@pytest.mark.parametrize("path", TRACED)
def test_config_builds_and_traces_one_update(path):
    config = config_file.read(str(ROOT / path), ["--config.parallel.num_devices=1"])
    assert config == json.loads(json.dumps(config))
    classes = tuple(map(str, range(10)))
    facts = experiments.DataFacts(classes, num_train=50_000, num_eval=1000)
    experiment = experiments.build_without_data(config, facts)
    batch = experiment.blank_batch(config["loader"]["batch_size"])
    key = jax.random.key(0)
    state = jax.eval_shape(experiment.task.init, key, batch)
    after, metrics = jax.eval_shape(experiment.task.step, state, batch, key)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert "loss" in metrics
    assert experiment.augment().sizes_px


@pytest.mark.parametrize("path", CONFIGS)
def test_docstring_is_the_record_of_the_experiment(path):
    text = (ROOT / path).read_text()
    docstring = text.split('"""')[1]
    assert f"--config={path}" in docstring
    assert "Expected: " in docstring


def test_reading_every_config_starts_neither_jax_nor_cnn():
    code = "\n".join(
        [
            "import importlib.util, sys",
            f"sys.path.insert(0, {str(ROOT)!r})",
            f"for path in {CONFIGS!r}:",
            "    spec = importlib.util.spec_from_file_location('config', path)",
            "    module = importlib.util.module_from_spec(spec)",
            "    spec.loader.exec_module(module)",
            "    module.get_config()",
            "assert not {'jax', 'cnn', 'tensorflow'} & set(sys.modules)",
        ]
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def read(*overrides, path="configs/mnist5k/lenet5.py"):
    return config_file.read(str(ROOT / path), list(overrides))


def test_overrides_take_the_type_of_the_default():
    config = read(
        "--config.optimizer.learning_rate=1",
        "--config.train.num_steps",
        "7",
        "--config.ema.evaluate=false",
        "--config.preprocess.mean=(0.5,)",
        "--config.optimizer.options.adam.b2=0.95",
    )
    assert config["optimizer"]["learning_rate"] == 1.0
    assert config["train"]["num_steps"] == 7
    assert config["ema"]["evaluate"] is False
    assert config["preprocess"]["mean"] == [0.5]
    assert config["optimizer"]["options"]["adam"]["b2"] == 0.95


def test_fields_of_the_model_need_not_be_listed():
    config = read("--config.model.dropout_rate=0.5", "--config.model.activation=relu")
    assert (config["model"]["dropout_rate"], config["model"]["activation"]) == (0.5, "relu")


def test_argument_behind_the_colon_reaches_the_config():
    assert read(path="configs/tfds.py:cifar10")["data"]["name"] == "cifar10"
    assert read(path="configs/tfds.py:cifar10")["preprocess"]["image_size"] == 32


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--config.optimizer.learning_rat=1"], "did you mean 'learning_rate'"),
        (["--config.learning_rate=1"], "did you mean 'config.optimizer.learning_rate'"),
        (["--config.optimizers.name=sgd"], "did you mean 'optimizer'"),
        (["--config.optimizer.learning_rate=fast"], "could not convert string to float: 'fast'"),
        (["--config.train.num_steps=1.5"], "num_steps"),
        (["--config.optimizer=sgd"], "config.optimizer is a section"),
        (["--config.seed.x=1"], "config.seed is a value, not a section"),
        (["--config.seed"], "--config.seed has no value"),
        (["--config.seed=1", "stray"], "unexpected argument 'stray'"),
    ],
)
def test_wrong_override_is_one_clear_line(overrides, message):
    with pytest.raises(UserError) as caught:
        read(*overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_names_those_there_are(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=r"no config file 'configs/x.py'.*mnist5k/lenet5.py"):
        config_file.read("configs/x.py", [])


def test_config_that_is_no_config_is_one_line(tmp_path):
    (tmp_path / "broken.py").write_text("def get_config(:\n")
    with pytest.raises(UserError, match=r"broken.py cannot be read as a config"):
        config_file.read(str(tmp_path / "broken.py"), [])


def test_what_a_config_says_of_its_argument_is_shown_without_a_traceback(tmp_path):
    (tmp_path / "picky.py").write_text("def get_config(arg):\n    raise ValueError('a or b')\n")
    with pytest.raises(UserError, match=r"picky.py:c cannot be read as a config: \S*: a or b$"):
        config_file.read(str(tmp_path / "picky.py:c"), [])


def test_call_refuses_a_section_of_other_keys():
    config = {"parallel": {"strategy": "mesh", "num_device": 1}}
    with pytest.raises(UserError, match=r"'num_device'; did you mean 'num_devices'"):
        experiments.call(config, "parallel")
    with pytest.raises(UserError, match=r"config.parallel lacks 'num_devices'"):
        experiments.call({"parallel": {"strategy": "mesh"}}, "parallel")
    with pytest.raises(UserError, match=r"no section 'ema'"):
        experiments.call(config, "ema", None)
