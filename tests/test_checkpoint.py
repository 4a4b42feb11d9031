"""Checkpoints: what is kept, and what is read when files are damaged, missing or foreign."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn.checkpoint import Checkpoints
from cnn.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]


def carry(value, width=3):
    """A small state: what `value` was can be read off every leaf."""
    return {
        "params": {"dense": {"kernel": jnp.full((2, width), value), "bias": jnp.full(3, value)}},
        "step": jnp.asarray(value, jnp.int32),
    }


def abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def opened(directory, notes=None, **options):
    defaults = {"keep_last": 2, "keep_best": 1, "best_metric": "eval/accuracy", "best_mode": "max"}
    note = (lambda _: None) if notes is None else notes.append
    return Checkpoints(directory, note, **{**defaults, **options})


def write(directory, values, **options):
    """Saves the steps 10, 20, ... with these values of the metric; returns what is left."""
    with opened(directory, **options) as checkpoints:
        for index, value in enumerate(values, start=1):
            metrics = None if value is None else {"eval/accuracy": value}
            checkpoints.save(10 * index, carry(float(index)), metrics)
    return steps_on_disk(directory)


def steps_on_disk(directory):
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())


def restore(directory, step=None, notes=None):
    """(step, the value in every leaf), checked to be one value."""
    with opened(directory, notes) as checkpoints:
        found = checkpoints.restore(abstract(carry(0.0)), step)
    if found is None:
        return None
    values = {float(x) for leaf in jax.tree.leaves(found[1]) for x in np.ravel(leaf)}
    assert len(values) == 1
    return found[0], values.pop()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A directory with the steps 10 and 20, to be copied."""
    directory = tmp_path_factory.mktemp("two") / "checkpoints"
    assert write(directory, [0.5, 0.6]) == [10, 20]
    return directory


@pytest.fixture
def copy(two, tmp_path):
    """A copy of `two` that a test may damage."""
    return shutil.copytree(two, tmp_path / "checkpoints")


def test_what_is_saved_is_restored_to_the_bit_with_types_and_shardings(tmp_path):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    values = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    tree = {
        "float": jnp.asarray(values),
        "half": jnp.asarray(values, jnp.bfloat16),
        "count": jnp.asarray(2**31 - 1, jnp.int32),
        "odd": jnp.asarray([np.nan, np.inf, -0.0, 1e-45], jnp.float32),
        "none": None,
    }
    tree = jax.device_put(tree, replicated)
    with opened(tmp_path) as checkpoints:
        checkpoints.save(7, tree, None)
    with opened(tmp_path) as checkpoints:
        found = checkpoints.restore(abstract(tree))
    assert found is not None
    step, restored = found
    assert step == 7
    assert jax.tree.structure(restored) == jax.tree.structure(tree)
    for name in ("float", "half", "count", "odd"):
        assert restored[name].dtype == tree[name].dtype
        assert restored[name].sharding == replicated
        assert np.asarray(restored[name]).tobytes() == np.asarray(tree[name]).tobytes()


def test_no_checkpoint_is_none(tmp_path):
    assert restore(tmp_path / "made" / "on" / "the" / "way") is None
    with opened(tmp_path) as checkpoints:
        assert checkpoints.steps() == []
        assert checkpoints.best_step() is None


def test_the_newest_or_the_asked_step_is_restored(two):
    assert restore(two) == (20, 2.0)
    assert restore(two, step=10) == (10, 1.0)
    with pytest.raises(UserError, match=r"no checkpoint of step 15 in .* \(known: 10, 20\)"):
        restore(two, step=15)


def test_the_state_may_change_or_be_donated_while_it_is_written(tmp_path):
    state = {"x": jnp.arange(1_000_000.0)}
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, state, None)
        state = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0, tree), donate_argnums=0)(state)
        checkpoints.wait()
        found = checkpoints.restore(abstract(state))
    assert found is not None
    np.testing.assert_array_equal(found[1]["x"], np.arange(1_000_000.0))


@pytest.mark.parametrize(
    ("options", "left", "best"),
    [
        ({"keep_last": 1, "keep_best": 0}, [50], 50),
        ({"keep_last": 3, "keep_best": 0}, [30, 40, 50], 40),
        ({"keep_last": 1, "keep_best": 1}, [20, 50], 20),
        ({"keep_last": 1, "keep_best": 1, "best_mode": "min"}, [30, 50], 30),
        ({"keep_last": 1, "keep_best": 2}, [20, 40, 50], 20),
        ({"keep_last": 2, "keep_best": 2, "best_mode": "min"}, [10, 30, 40, 50], 30),
        ({"keep_last": 9, "keep_best": 0}, [10, 20, 30, 40, 50], 20),
    ],
)
def test_the_last_and_the_best_are_kept(tmp_path, options, left, best):
    assert write(tmp_path, [0.3, 0.9, 0.1, 0.8, 0.5], **options) == left
    with opened(tmp_path, **options) as checkpoints:
        assert checkpoints.steps() == left
        assert checkpoints.best_step() == best


def test_the_best_are_remembered_when_the_directory_is_opened_again(tmp_path):
    options = {"keep_last": 1, "keep_best": 1}
    write(tmp_path, [0.3, 0.9], **options)
    with opened(tmp_path, **options) as checkpoints:
        checkpoints.save(30, carry(3.0), {"eval/accuracy": 0.4})
        checkpoints.save(40, carry(4.0), {"eval/accuracy": 0.5})
    assert steps_on_disk(tmp_path) == [20, 40]
    with opened(tmp_path, **options) as checkpoints:
        assert checkpoints.best_step() == 20
        checkpoints.save(50, carry(5.0), {"eval/accuracy": 0.95})
    assert steps_on_disk(tmp_path) == [50]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_of_equals_the_newer_is_best(tmp_path, mode):
    options = {"keep_last": 1, "keep_best": 1, "best_mode": mode}
    worst = {"max": 0.1, "min": 0.9}[mode]
    assert write(tmp_path, [0.5, 0.5, worst], **options) == [20, 30]
    with opened(tmp_path, **options) as checkpoints:
        assert checkpoints.best_step() == 20


@pytest.mark.parametrize("mode", ["max", "min"])
def test_nan_and_unmeasured_are_never_best(tmp_path, mode):
    options = {"keep_last": 1, "keep_best": 1, "best_mode": mode}
    assert write(tmp_path, [0.5, float("nan"), None], **options) == [10, 30]
    with opened(tmp_path, **options) as checkpoints:
        assert checkpoints.best_step() == 10


def test_a_metric_that_is_not_measured_is_named(tmp_path):
    with opened(tmp_path, best_metric="eval/acuracy") as checkpoints:
        with pytest.raises(UserError, match=r"'eval/acuracy', .*known: eval/accuracy, eval/loss"):
            checkpoints.save(1, carry(1.0), {"eval/loss": 0.1, "eval/accuracy": 0.5})
        # Once it was not evaluated there is nothing to compare, so nothing to complain of.
        checkpoints.save(2, carry(2.0), None)
    assert restore(tmp_path) == (2, 2.0)


def test_another_best_metric_after_a_restart_counts_from_then_on(tmp_path):
    write(tmp_path, [0.5, 0.4])
    with opened(tmp_path, best_metric="eval/loss", best_mode="min") as checkpoints:
        assert checkpoints.best_step() is None
        checkpoints.save(30, carry(3.0), {"eval/loss": 1.0})
        assert checkpoints.best_step() == 30
    assert steps_on_disk(tmp_path) == [20, 30]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_last": 0}, "checkpoint.keep_last must be at least 1, got 0"),
        ({"keep_best": -1}, "checkpoint.keep_best must be at least 0, got -1"),
        ({"best_mode": "maximum"}, "unknown value of checkpoint.best_mode 'maximum'"),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        opened(tmp_path, **options)


def test_a_step_that_is_there_is_left_as_it_is(tmp_path):
    with opened(tmp_path) as checkpoints:
        checkpoints.save(10, carry(1.0), None)
        checkpoints.save(10, carry(2.0), None)  # the first is still being written
        checkpoints.wait()
        checkpoints.save(10, carry(3.0), None)
    assert restore(tmp_path) == (10, 1.0)


def test_a_step_out_of_order_is_an_error_and_not_silently_lost(tmp_path):
    with opened(tmp_path) as checkpoints:
        checkpoints.save(10, carry(1.0), None)
        with pytest.raises(ValueError, match="step 5 is older than the checkpoint of step 10"):
            checkpoints.save(5, carry(2.0), None)


def test_a_checkpoint_appears_with_the_list_of_its_files(tmp_path):
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, carry(1.0), {"eval/accuracy": 0.5})
        checkpoints.wait()
        # Not only after the next save: the newest is the one that a resumed run reads.
        listed = set(json.loads((tmp_path / "1" / "files.json").read_text()))
    there = {
        str(path.relative_to(tmp_path / "1"))
        for path in (tmp_path / "1").rglob("*")
        if path.is_file()
    }
    # These three are written after the list, or are the list.
    assert there - listed == {"_CHECKPOINT_METADATA", "commit_success.txt", "files.json"}
    assert any(name.startswith("carry/ocdbt.process_0/d/") for name in listed)
    assert "metrics/metrics" in listed


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0b100
    path.write_bytes(content)


def delete(path):
    path.unlink()


@pytest.mark.parametrize("damage", [truncate, flip, delete])
def test_whatever_file_of_the_newest_is_damaged_the_one_before_is_used_and_it_is_said(
    two, tmp_path, damage
):
    listed = json.loads((two / "20" / "files.json").read_text())
    for index, name in enumerate(listed):
        directory = shutil.copytree(two, tmp_path / str(index))
        damage(directory / "20" / name)
        notes = []
        assert restore(directory, notes=notes) == (10, 1.0), name
        assert len(notes) == 1
        assert notes[0].startswith("the checkpoint of step 20 is broken (")
        assert name in notes[0]
        assert "\n" not in notes[0]


@pytest.mark.parametrize("damage", [truncate, flip, delete])
@pytest.mark.parametrize("name", ["files.json", "_CHECKPOINT_METADATA", "commit_success.txt"])
def test_a_damaged_description_never_gives_wrong_values(copy, damage, name):
    damage(copy / "20" / name)
    notes = []
    # These hold no values: where the rest can be read it is right, else the one before is.
    assert (restore(copy, notes=notes), len(notes)) in [((20, 2.0), 0), ((10, 1.0), 1)]


def forget_list_and(copy, name):
    """Takes the list away, so that the reading itself must fail, at something it reads first.

    A read that fails half-way leaves futures behind that call a closed event loop some time later,
    in whatever test runs then.
    """
    path = copy / "20" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    (copy / "20" / "files.json").unlink()


@pytest.mark.parametrize("name", ["carry", "carry/_METADATA"])
def test_what_cannot_be_read_is_passed_over_also_without_a_list(copy, name):
    forget_list_and(copy, name)
    notes = []
    assert restore(copy, notes=notes) == (10, 1.0)
    assert len(notes) == 1


def test_an_empty_directory_of_a_step_is_passed_over(copy):
    (copy / "30").mkdir()
    notes = []
    assert restore(copy, notes=notes) == (20, 2.0)
    assert notes[0].startswith("the checkpoint of step 30 is broken (")


def test_a_broken_step_that_was_asked_for_is_an_error(copy):
    delete(copy / "20" / "carry" / "manifest.ocdbt")
    with pytest.raises(UserError, match=r"step 20 is broken: carry/manifest\.ocdbt is missing"):
        restore(copy, step=20)
    forget_list_and(copy, "carry/_METADATA")
    with pytest.raises(UserError, match="step 20 is broken: "):
        restore(copy, step=20)


def test_when_all_are_broken_nothing_is_deleted(copy):
    for step in ("10", "20"):
        truncate(copy / step / "carry" / "manifest.ocdbt")
    notes = []
    with pytest.raises(UserError, match=r"every checkpoint in .* is broken; delete the directory"):
        restore(copy, notes=notes)
    assert len(notes) == 2
    assert steps_on_disk(copy) == [10, 20]


def test_broken_metrics_do_not_keep_a_run_from_its_other_checkpoints(copy):
    (copy / "20" / "metrics" / "metrics").write_text('{"eval/accuracy": "hi')
    with opened(copy) as checkpoints:
        assert checkpoints.best_step() == 10
    assert restore(copy) == (10, 1.0)


def test_a_run_goes_on_over_a_broken_checkpoint(copy):
    truncate(copy / "20" / "carry" / "manifest.ocdbt")
    with opened(copy) as checkpoints:
        found = checkpoints.restore(abstract(carry(0.0)))
        assert found is not None
        checkpoints.remove_after(found[0])
        assert checkpoints.steps() == [10]
        checkpoints.save(20, carry(7.0), {"eval/accuracy": 0.1})
    assert restore(copy) == (20, 7.0)


def test_a_half_written_checkpoint_is_said_passed_over_and_removed_by_the_run_alone(copy):
    half = copy / "30.orbax-checkpoint-tmp"
    shutil.copytree(copy / "20", half)
    delete(half / "carry" / "manifest.ocdbt")
    notes = []
    assert restore(copy, notes=notes) == (20, 2.0)
    assert notes == ["the checkpoint of step 30 is half-written; passing it over"]
    # An evaluation reads while a training writes, so opening and reading leave it there.
    assert half.exists()
    with opened(copy) as checkpoints:
        checkpoints.remove_after(20)
        assert not half.exists()
        checkpoints.save(30, carry(3.0), None)
    assert restore(copy) == (30, 3.0)


def test_an_old_leftover_is_not_worth_a_word(copy):
    (copy / "15.orbax-checkpoint-tmp").mkdir()
    notes = []
    assert restore(copy, notes=notes) == (20, 2.0)
    assert notes == []


def test_a_reader_does_not_disturb_a_writer(tmp_path):
    with opened(tmp_path) as writer:
        for step in range(1, 6):
            writer.save(step, {"x": jnp.arange(100_000.0) + step}, {"eval/accuracy": step / 10})
            with opened(tmp_path) as reader:
                reader.best_step()
    assert steps_on_disk(tmp_path) == [4, 5]


def test_a_checkpoint_of_another_model_is_refused_with_the_first_paths_that_differ(two):
    other = {**carry(0.0, width=4), "extra": jnp.zeros(2)}
    with opened(two) as checkpoints, pytest.raises(UserError) as caught:
        checkpoints.restore(abstract(other))
    message = str(caught.value)
    assert "\n" not in message
    assert "of another model or optimizer; 2 arrays differ" in message
    assert "params/dense/kernel: saved (2, 3), wanted (2, 4)" in message
    assert "extra: saved nothing, wanted (2,)" in message
    # Parameters say more of what is wrong than the state of an optimizer.
    assert message.index("params/dense/kernel") < message.index("extra")


def test_a_missing_array_is_refused_too(two):
    with opened(two) as checkpoints, pytest.raises(UserError, match=r"step: saved \(\), wanted no"):
        checkpoints.restore(abstract({"params": carry(0.0)["params"]}))


def test_a_checkpoint_of_the_same_arrays_in_another_structure_is_no_broken_one(tmp_path):
    params = carry(1.0)["params"]
    one = optax.chain(optax.scale_by_adam(), optax.identity()).init(params)
    other = optax.chain(optax.scale_by_adam(), optax.identity(), optax.identity()).init(params)
    notes = []
    with opened(tmp_path, notes) as checkpoints:
        checkpoints.save(10, one, None)
        checkpoints.wait()
        for step in (None, 10):
            with pytest.raises(UserError, match=r"is whole .* of another optimizer") as caught:
                checkpoints.restore(abstract(other), step)
            assert "delete" not in str(caught.value)
    assert not notes


def test_without_shapes_a_checkpoint_is_read_as_it_is(two):
    with opened(two) as checkpoints:
        step, found = checkpoints.restore(None)
    assert step == 20
    leaves = jax.tree.leaves(found)
    assert all(isinstance(leaf, np.ndarray) for leaf in leaves)
    assert jax.tree.map(np.shape, found) == jax.tree.map(np.shape, carry(0.0))
    assert {float(x) for leaf in leaves for x in np.ravel(leaf)} == {2.0}


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        UserError, match=r"cannot write a checkpoint to .*Not a directory"
    ) as caught:
        opened(tmp_path / "file" / "checkpoints")
    assert "\n" not in str(caught.value)


FULL_DISK = """
    import pathlib, resource, sys
    import jax.numpy as jnp, numpy as np
    from cnn.checkpoint import Checkpoints
    from cnn.errors import UserError

    def carry(value):
        # Noise, since zeros would be compressed to nothing.
        noise = np.random.default_rng(int(value)).normal(size=100_000)
        return {"x": jnp.asarray(noise, jnp.float32), "value": jnp.asarray(value)}

    options = dict(keep_last=1, keep_best=0, best_metric="", best_mode="max")
    try:
        with Checkpoints(pathlib.Path(sys.argv[1]), print, **options) as checkpoints:
            checkpoints.save(10, carry(1.0), None)
            checkpoints.wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
            checkpoints.save(20, carry(2.0), None)
            if "wait" in sys.argv:
                checkpoints.wait()
            if "save" in sys.argv:
                checkpoints.save(30, carry(3.0), None)
        print("nothing was raised")
    except UserError as error:
        print("UserError:", error)
"""


@pytest.mark.parametrize("when", ["wait", "save", "close"])
def test_a_full_disk_is_one_line_and_earlier_checkpoints_are_as_they_were(tmp_path, when):
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(tmp_path), when],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.startswith("UserError: cannot write a checkpoint to "), child.stdout
    assert child.stdout.count("\n") == 1
    assert "Earlier checkpoints are as they were" in child.stdout
    assert "File too large" in child.stdout
    notes = []
    shapes = {"x": jnp.zeros(100_000), "value": jnp.zeros(())}
    with opened(tmp_path, notes) as checkpoints:
        found = checkpoints.restore(abstract(shapes))
    assert found is not None
    assert found[0] == 10
    assert float(found[1]["value"]) == 1.0
    # What the failed write left behind has the name that is looked for.
    assert notes == ["the checkpoint of step 20 is half-written; passing it over"]


def test_disk_without_room_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, carry(1), None)
        checkpoints.wait()
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=7))
        with pytest.raises(UserError, match=r"it takes [\d,]+ bytes and 7 are free"):
            checkpoints.save(2, carry(2), None)
        assert sorted(tmp_path.rglob("*")) == before
        assert checkpoints.steps() == [1]
