"""Eight virtual devices, strict numerics, shapes checked at run time: for every test."""

import gc
import os
import pathlib

import jax
import jaxtyping
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
CACHE = pathlib.Path(__file__).parents[1] / ".cache" / "jax"
jax.config.update("jax_compilation_cache_dir", os.environ.get("CNN_TEST_CACHE", str(CACHE)))
# Most programs of the tests run once, so time to compile is what counts: a third of it is saved.
# Rounding aside, nothing else differs; CNN_TEST_OPTIMISED=1 compiles as `cnn` does.
optimised = os.environ.get("CNN_TEST_OPTIMISED", "") == "1"
jax.config.update("jax_disable_most_optimizations", not optimised)
if not optimised and jax.__version_info__[:2] == (0, 10):
    # The older way to make loops of fused operations, which compiles in half of the time. An XLA
    # that no longer had the flag would stop the process, so it is for the versions tried only.
    # Once, though workers inherit it: programs are kept by the flags as they are written.
    flags, older = os.environ.get("XLA_FLAGS", "").split(), "--xla_cpu_use_fusion_emitters=false"
    os.environ["XLA_FLAGS"] = " ".join([*(flag for flag in flags if flag != older), older])
# Tests make the same small programs again and again; the processes that they start do, too.
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

# Before any module of cnn is imported: the hook rewrites their signatures.
jaxtyping.install_import_hook("cnn", "beartype.beartype")


@pytest.fixture
def unchecked():
    """Without the checks of shapes, which take half of the time to trace a large network.

    The small network of each family has them.
    """
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def pytest_collection_modifyitems(items):
    """Files with a slow test come first, lest one worker ends with them while the other idles."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish():
    """What was imported stays: to look through it for garbage again and again takes seconds."""
    gc.freeze()
