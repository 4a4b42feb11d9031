import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture
def keeps_nothing():
    """As in a process that keeps no programs: then the library serves."""
    directory = jax.config.values["jax_compilation_cache_dir"]
    _keep(None)
    yield
    _keep(directory)


def _keep(directory):
    jax.config.update("jax_compilation_cache_dir", directory)
    # JAX asks once only whether it keeps programs, and remembers what it compiled and lowered.
    compilation_cache.reset_cache()
    jax.clear_caches()
