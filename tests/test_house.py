"""The house rules that no linter knows."""

import ast
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
CODE = sorted((ROOT / "cnn").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def test_no_file_is_over_500_lines():
    long = [
        f"{path.relative_to(ROOT)}: {count}"
        for room in ("cnn", "configs", "tests")
        for path in (ROOT / room).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 500
    ]
    assert not long


def test_no_drawers():
    banned = {"utils.py", "util.py", "common.py", "helpers.py", "misc.py"}
    assert not [path for path in CODE if path.name in banned]


def test_every_test_file_mirrors_a_module():
    other = {"test_house.py", "test_main.py"}
    strangers = []
    for path in TESTS:
        relative = path.relative_to(ROOT / "tests")
        room = relative.parts[0]
        module = ROOT / "cnn" / relative.with_name(path.name.removeprefix("test_"))
        if path.name in other or room in ("configs", "golden"):
            continue
        if not module.exists() and not (module.parent.is_dir() and relative.parts[:-1]):
            strangers.append(str(relative))
    assert not strangers


def test_configs_are_never_read_with_a_default():
    """A mistyped key must be an error, so nobody asks a config with `get`."""
    offenders = []
    for path in CODE:
        if path.parent.name == "report":
            continue  # it shows configs of any age, whatever they hold
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "get"
                and ast.unparse(node.func.value).split(".")[-1].split("[")[0] == "config"
            ):
                offenders.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not offenders


def test_only_core_differentiates_by_parameters():
    users = [
        str(path.relative_to(ROOT))
        for path in CODE
        if re.search(r"jax\.(value_and_)?grad\(", path.read_text())
    ]
    assert users == ["cnn/core.py"]


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["nonsense"]])
def test_help_and_mistakes_start_no_jax(words):
    code = (
        "import sys\n"
        "from cnn.__main__ import main\n"
        "try:\n"
        f"    main({words!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'jax', 'flax', 'numpy', 'tensorflow', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_has_its_file_and_every_file_its_command():
    from cnn.__main__ import COMMANDS

    described = {
        path.stem
        for path in (ROOT / "cnn" / "cli").glob("*.py")
        if "def add_arguments" in path.read_text()
    }
    assert described == set(COMMANDS)


def test_lock_names_exact_versions_and_no_addresses():
    lines = (ROOT / "requirements.lock").read_text().splitlines()[1:]
    assert all(re.fullmatch(r"[\w.-]+==[\w.!+-]+", line) for line in lines)
    locked = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in wanted:
        name = re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")
        assert name in locked, f"{name}: run make lock"
