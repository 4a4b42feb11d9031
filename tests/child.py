"""The environment of a child process: its programs are kept and compiled as those of the tests.

A test that stops a training starts it again and compares it with an unbroken one, so several
children need the same programs: the first compiles them, the others read them.
"""

import os

import jax


def environment(**changes: str) -> dict[str, str]:
    """This process's environment on CPUs with the tests' programs, changed as asked."""
    values = jax.config.values
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(values["jax_compilation_cache_dir"]),
        # The many small programs of a start take longer together than the step.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": str(values["jax_disable_most_optimizations"]),
        **changes,
    }
