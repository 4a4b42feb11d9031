import os
import subprocess
import sys

import pytest

from cnn import huge_pages

ASK = "import os; print(os.environ.get('GLIBC_TUNABLES'))"


def test_children_have_the_setting_and_this_process_has_not(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    with huge_pages.for_children():
        said = subprocess.run(
            [sys.executable, "-c", ASK], capture_output=True, text=True, check=True
        )
    assert said.stdout == "glibc.malloc.hugetlb=1\n"
    assert "GLIBC_TUNABLES" not in os.environ


def test_a_setting_of_the_users_stays(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=0")
    with huge_pages.for_children():
        assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.check=0"
    huge_pages.restart_with()  # Would not come back.
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.check=0"


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is of Linux's C library")
def test_a_program_starts_again_once_with_its_words():
    program = (
        f"import sys\nfrom cnn import huge_pages\nhuge_pages.restart_with()\n{ASK}\nprint(sys.argv)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    said = subprocess.run(
        [sys.executable, "-c", program, "a b", "--c"],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert said.stdout.splitlines() == ["glibc.malloc.hugetlb=1", "['-c', 'a b', '--c']"]
