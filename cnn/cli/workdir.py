"""What a run's directory holds beside checkpoints and metrics: written, read, compared."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cnn.errors import UserError
from cnn.report import files

if TYPE_CHECKING:
    from cnn.experiment import DataFacts, Experiment
    from cnn.pretrained.initialise import Initial

CONFIG = "config.json"
ENVIRONMENT = "environment.json"
DATASET = "dataset.json"
INITIAL = "init.json"
# How a run is carried out may change when it goes on; what is trained may not.
MAY_CHANGE = (
    "train.",
    "checkpoint.",
    "parallel.",
    "evaluation.",
    "data.root",
    "data.cache_mb",
    "boxes.max_boxes",
    "proposals.",
    "loader.num_threads",
    "loader.num_workers",
    "resident.steps_per_dispatch",
    "resident.max_mb",
    "sampling.on_error",
)
PACKAGES = ("cnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def start_jax() -> None:
    """Keeps compiled programs between runs, unless JAX was told where, or not to.

    Not on a CPU with `cnn.ops.onednn`, whose programs cannot be kept: faster steps are worth more.
    """
    import jax

    from cnn.ops import onednn

    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    if not (onednn.is_known() and jax.default_backend() == "cpu"):
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(cache / "cnn" / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def make_deterministic() -> None:
    """Asks XLA for kernels on GPUs that give equal bits in equal runs; before any device is used.

    Elsewhere it changes nothing: on CPUs our tests see equal bits, and XLA has no such choice for
    TPUs.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def check_writable(directory: pathlib.Path, *, flag: str = "--workdir") -> None:
    """Makes the directory that a flag names; a UserError where it cannot be made or written to."""
    probe = directory / f".write-{os.getpid()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x" * 4096)
        # Another host may have had the same name for it.
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {flag}={directory}: {error.strerror}") from error


def check_same_config(directory: pathlib.Path, experiment: Experiment) -> None:
    """Refuses to go on with a run of another config.

    Raises:
        UserError: With the first arrays that differ where the checkpoint is of another model, else
            with the first keys that differ.
    """
    from cnn import experiment as experiments

    before = files.read_json(directory / CONFIG)
    if before is None:
        return
    old, new = _flat(before), _flat(experiment.config)
    # A run may be older than a key: it is gone on with as long as the key has its default.
    defaults = experiments.defaults(experiment.config["task"]["name"])
    old = {**{k: v for k, v in defaults.items() if k in new}, **old}
    differ = [
        key
        for key in sorted(old.keys() | new.keys())
        if not key.startswith(MAY_CHANGE)
        and old.get(key) != new.get(key)
        # A key that is new since the run began, and off.
        and (key in old or new[key])
    ]
    if not differ or not (directory / "checkpoints").is_dir():
        return
    if any(key.startswith(("model.", "optimizer.name", "ema.")) for key in differ):
        _check_same_arrays(directory, experiment)
    shown = "; ".join(f"{key} was {old.get(key)!r}, is {new.get(key)!r}" for key in differ[:3])
    raise UserError(
        f"{directory} holds a run of another config ({len(differ)} keys differ, first {shown}); "
        "use another --workdir"
    )


def _check_same_arrays(directory: pathlib.Path, experiment: Experiment) -> None:
    from cnn import train

    carry = train.blank_carry(experiment)
    with train.open_checkpoints(experiment, directory, lambda _: None) as checkpoints:
        train.restore(experiment, checkpoints, carry)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def initial(directory: pathlib.Path, experiment: Experiment) -> Initial | None:
    """What the run starts from; None where that is nothing, or where the run goes on.

    Raises:
        UserError: If it cannot start from that, or its model cannot take its images.
    """
    from cnn import train

    if (directory / train.CHECKPOINTS).is_dir():
        with train.open_checkpoints(experiment, directory, lambda _: None) as checkpoints:
            if checkpoints.steps():
                return None
    return experiment.initial()


def record(directory: pathlib.Path, experiment: Experiment, initial: Initial | None = None) -> None:
    """Writes config, environment, what the model knows of its data, and what it starts from.

    A run that goes on keeps its first environment and adds the new one under `resumed`.
    """
    if initial is not None:
        _write(directory / INITIAL, initial.report._asdict())
    _write(directory / CONFIG, experiment.config)
    facts = experiment.facts._asdict()
    _write(directory / DATASET, {**facts, "class_names": list(facts["class_names"])})
    now = environment(experiment)
    first = files.read_json(directory / ENVIRONMENT)
    if first is not None:
        now = {**first, "resumed": [*first.get("resumed", []), now]}
    _write(directory / ENVIRONMENT, now)


def environment(experiment: Experiment) -> dict[str, Any]:
    """Versions, devices, commit and command line: what it takes to run this again."""
    import jax

    devices = jax.devices()[: experiment.strategy.num_devices]
    return {
        **program(),
        "devices": [f"{device.platform}:{device.id} {device.device_kind}" for device in devices],
        "processes": jax.process_count(),
    }


def program() -> dict[str, Any]:
    """Command line, commit, versions and machine, without starting a device."""
    return {
        "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": versions(PACKAGES),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The version of each package that is installed."""
    from importlib import metadata

    found = {}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _commit() -> dict[str, Any]:
    def git(*words: str) -> str | None:
        root = pathlib.Path(__file__).parents[2]
        try:
            result = subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return result.stdout.strip() if result.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    # Of what trains, since results that a run adds change no other run.
    changes = git("status", "-s", "--", "cnn", "configs")
    return {"commit": commit, "dirty": None if commit is None else bool(changes)}


def headline(experiment: Experiment) -> str:
    """One line on what is about to be trained, on what."""
    import jax

    config, strategy = experiment.config, experiment.strategy
    device = jax.devices()[0].device_kind
    return (
        f"{config['model']['name']} on {experiment.facts.num_train:,} images of "
        f"{len(experiment.facts.class_names)} classes, {experiment.loop.num_steps:,} steps of "
        f"{config['loader']['batch_size']}, {strategy.name} over {strategy.num_devices} {device}"
        + (f" of {jax.process_count()} processes" if jax.process_count() > 1 else "")
    )


def is_finished(directory: pathlib.Path, step: int) -> bool:
    """Whether the model after this step is saved, examined and reported."""
    evaluation = files.read_json(directory / "evaluation.json")
    return (
        evaluation is not None
        and evaluation["step"] == step
        and (directory / "checkpoints" / str(step)).is_dir()
        and (directory / "report.html").exists()
    )


def read_config(directory: pathlib.Path) -> dict[str, Any]:
    """The config of a run. Raises a UserError where the directory holds none."""
    config = files.read_json(directory / CONFIG)
    if config is None:
        raise UserError(
            f"{directory} holds no run (no {CONFIG}); make one with cnn train --workdir={directory}"
        )
    return config


def read_facts(directory: pathlib.Path) -> DataFacts:
    """What the run's model knows of its data. Raises a UserError where that is missing."""
    from cnn.experiment import DataFacts

    facts = files.read_json(directory / DATASET)
    if facts is None:
        raise UserError(f"{directory} has no {DATASET}; cnn train with the same config writes it")
    return DataFacts(tuple(facts["class_names"]), facts["num_train"], facts["num_eval"])


def for_reading(config: Mapping[str, Any], views: str | None) -> dict[str, Any]:
    """The config to evaluate or predict with on this machine, whatever it was trained on.

    One device, a batch that any device count shares: the numbers are the same. `views` replaces
    `evaluation.views`, but for None.
    """
    evaluation = config["evaluation"] if views is None else {**config["evaluation"], "views": views}
    parallel = {"strategy": "mesh", "num_devices": 1}
    return {**config, "evaluation": evaluation, "parallel": parallel}


def restore(
    directory: pathlib.Path, experiment: Experiment, step: int | None, best: bool
) -> tuple[int, Any]:
    """(step, state) of the latest checkpoint, of `step`, or of the best.

    Raises:
        UserError: If there is no such checkpoint.
    """
    from cnn import train

    carry = train.blank_carry(experiment)
    with train.open_checkpoints(experiment, directory, lambda text: print(text)) as checkpoints:
        if best:
            step = checkpoints.best_step()
            if step is None:
                raise UserError(
                    f"no checkpoint in {directory} was measured by checkpoint.best_metric="
                    f"{experiment.config['checkpoint']['best_metric']}"
                )
        found, carry = train.restore(experiment, checkpoints, carry, step)
    if not found:
        raise UserError(f"no checkpoint in {directory} yet; train longer")
    return found, carry.state


def examine(directory: pathlib.Path, experiment: Experiment, state: Any, step: int) -> int:
    """Evaluates on the whole split, prints the numbers, writes the report; returns 0."""
    from cnn.parallel import hosts
    from cnn.report import evaluation as evaluations
    from cnn.report.html import write_report

    result = experiment.examine(state, step)
    if not hosts.leads():
        return 0
    evaluations.save(directory, result)
    path = write_report(directory, evaluation=result)
    seen = "" if result.views == "center" else f" ({result.views} averaged)"
    print(f"step {step}{seen}: {result.headline()}")
    print(f"report: {path}")
    return 0


def _write(path: pathlib.Path, content: Any) -> None:
    files.write_atomically(path, json.dumps(content, indent=2).encode() + b"\n")
