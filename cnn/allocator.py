"""What the C library is asked of memory: pages of 2 MB, and what is free given back.

XLA takes the memory of a step's intermediate values anew each time. In pages of 4 kB the system
hands a ResNet-50 step of 8 images 264,000 of them, which is a sixth of its time; in huge pages
1,000. Only the C library can ask for them and only when a process starts.

Compiling leaves memory that is free but not the system's again: 320 MB after a ResNet-50's.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

_NAME = "GLIBC_TUNABLES"
_VALUE = "glibc.malloc.hugetlb=1"


def restart_with_huge_pages() -> None:
    """Starts this program again with the setting, in the same process; not where one is there."""
    if sys.platform == "linux" and _NAME not in os.environ:
        os.environ[_NAME] = _VALUE
        os.execv(sys.executable, sys.orig_argv)


@contextlib.contextmanager
def huge_pages_for_children() -> Iterator[None]:
    """Processes that are started inside have the setting, unless there is one."""
    if _NAME in os.environ:
        yield
        return
    os.environ[_NAME] = _VALUE
    try:
        yield
    finally:
        del os.environ[_NAME]


def trim() -> None:
    """Gives what this process has freed back to the system, where the C library can."""
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if give_back is not None:
        give_back(0)
