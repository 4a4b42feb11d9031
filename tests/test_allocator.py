import ctypes
import os
import subprocess
import sys

import pytest

from cnn import allocator

ASK = "import os; print(os.environ.get('GLIBC_TUNABLES'))"


def test_children_have_the_setting_and_this_process_has_not(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    with allocator.huge_pages_for_children():
        said = subprocess.run(
            [sys.executable, "-c", ASK], capture_output=True, text=True, check=True
        )
    assert said.stdout == "glibc.malloc.hugetlb=1\n"
    assert "GLIBC_TUNABLES" not in os.environ


def test_a_setting_of_the_users_stays(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=0")
    with allocator.huge_pages_for_children():
        assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.check=0"
    allocator.restart_with_huge_pages()  # Would not come back.
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.check=0"


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is of Linux's C library")
def test_a_program_starts_again_once_with_its_words():
    restart = "from cnn import allocator\nallocator.restart_with_huge_pages()"
    program = f"import sys\n{restart}\n{ASK}\nprint(sys.argv)"
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    said = subprocess.run(
        [sys.executable, "-c", program, "a b", "--c"],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert said.stdout.splitlines() == ["glibc.malloc.hugetlb=1", "['-c', 'a b', '--c']"]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="no GNU C library")
def test_what_is_freed_goes_back_to_the_system():
    program = """
import ctypes, pathlib
from cnn import allocator

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096

malloc = ctypes.CDLL(None).malloc
free = ctypes.CDLL(None).free
malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
# Small pieces, whose free memory the C library keeps: all but the last are freed.
pieces = [malloc(100_000) for _ in range(500)]
for piece in pieces:
    ctypes.memset(piece, 1, 100_000)
for piece in pieces[:-1]:
    free(piece)
before = resident()
allocator.trim()
print(before - resident() > 40_000_000)
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout == "True\n"
