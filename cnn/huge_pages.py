"""Memory in pages of 2 MB, which a step on a CPU gets and gives back again.

XLA takes the memory of a step's intermediate values anew each time. In pages of 4 kB the system
hands a ResNet-50 step of 8 images 264,000 of them, which is a sixth of its time; in huge pages
1,000. Only the C library can ask for them and only when a process starts.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

_NAME = "GLIBC_TUNABLES"
_VALUE = "glibc.malloc.hugetlb=1"


def restart_with() -> None:
    """Starts this program again with the setting, in the same process; not where one is there."""
    if sys.platform == "linux" and _NAME not in os.environ:
        os.environ[_NAME] = _VALUE
        os.execv(sys.executable, sys.orig_argv)


@contextlib.contextmanager
def for_children() -> Iterator[None]:
    """Processes that are started inside have the setting, unless there is one."""
    if _NAME in os.environ:
        yield
        return
    os.environ[_NAME] = _VALUE
    try:
        yield
    finally:
        del os.environ[_NAME]
