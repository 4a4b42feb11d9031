"""Config files and overrides from the command line -> a plain dict, as JSON would hold it."""

from __future__ import annotations

import ast
import difflib
import json
import pathlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from cnn.errors import UserError, unknown

EXAMPLE = "--config=configs/mnist5k/lenet5.py"


def read(path: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Runs the config file's `get_config` and applies the overrides.

    Args:
        path: `FILE.py`, or `FILE.py:ARGUMENT` for `get_config(ARGUMENT)`.
        overrides: `--config.KEY=VALUE`, or `--config.KEY` and `VALUE` as two words. A value has the
            type of the default. A key that the config lacks is an error, but for fields of the
            model, which a config need not list.

    Raises:
        UserError: For a file that is missing or wrong, an unknown key, a value of the wrong type.
    """
    from absl import flags
    from ml_collections import config_flags

    file = pathlib.Path(path.split(".py:")[0] + ".py" if ".py:" in path else path)
    if not file.is_file():
        raise UserError(f"no config file {str(file)!r} (try {EXAMPLE}); known: {_known()}")
    root = _root(file)
    if str(root) not in sys.path:
        # The console script does not put the current directory on the path; `python -m` does.
        sys.path.insert(0, str(root))

    def parse(words: Sequence[str]) -> Any:
        argv = ["cnn", f"--config={path}", *words]
        values = flags.FlagValues()
        config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
        with warnings.catch_warnings():
            # ml_collections 1.1 reads files in a way that Python is about to drop.
            warnings.simplefilter("ignore", DeprecationWarning)
            values(argv)
        return values["config"].value

    try:
        config = parse([])
    except Exception as error:
        # The file is the user's Python and may fail in any way.
        raise UserError(f"{path} cannot be read as a config: {_one_line(error)}") from error
    regular, fields = _split_model_fields(_join(overrides), config)
    _check_keys(regular, config)
    try:
        config = parse(regular)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"cannot take {' '.join(regular)}: {_one_line(error)}") from error
    result = json.loads(json.dumps(config.to_dict()))
    result["model"].update(fields)
    return result


def _known() -> str:
    found = sorted(
        str(path)
        for path in pathlib.Path("configs").rglob("*.py")
        if "def get_config(arg" in path.read_text(errors="replace")
    )
    return ", ".join(found[:20]) or "none below ./configs; run in the clone of the repository"


def _root(file: pathlib.Path) -> pathlib.Path:
    """The directory that holds `configs/`, for a config file somewhere below it."""
    for parent in file.resolve().parents:
        if parent.name == "configs":
            return parent.parent
    return pathlib.Path.cwd()


def _join(words: Sequence[str]) -> list[str]:
    """`--config.a 1` as `--config.a=1`."""
    joined: list[str] = []
    for word in words:
        if word.startswith("--config."):
            joined.append(word)
        elif joined and "=" not in joined[-1]:
            joined[-1] += "=" + word
        else:
            raise UserError(f"unexpected argument {word!r}; overrides look like --config.seed=1")
    for word in joined:
        if "=" not in word:
            raise UserError(f"{word} has no value; write {word}=VALUE")
    return joined


def _split_model_fields(words: Sequence[str], config: Any) -> tuple[list[str], dict[str, Any]]:
    """Parts what the config can check from fields of the model that it does not list."""
    regular, fields = [], {}
    for word in words:
        key, _, value = word.removeprefix("--config.").partition("=")
        section, _, field = key.partition(".")
        if section == "model" and "model" in config and field not in config.model:
            try:
                fields[field] = json.loads(json.dumps(ast.literal_eval(value)))
            except (ValueError, SyntaxError, TypeError):
                fields[field] = value
        else:
            regular.append(word)
    return regular, fields


def _check_keys(words: Sequence[str], config: Any) -> None:
    for word in words:
        key = word.removeprefix("--config.").partition("=")[0]
        node, so_far = config, "config"
        for part in key.split("."):
            if not hasattr(node, "keys") or part not in node:
                known = list(node.keys()) if hasattr(node, "keys") else []
                if not known:
                    raise UserError(f"{so_far} is a value, not a section: --config.{key}")
                near = difflib.get_close_matches(part, known, n=1)
                raise unknown(
                    f"key of {so_far}", part, known if near else [*known, *_elsewhere(part, config)]
                )
            node, so_far = node[part], f"{so_far}.{part}"
        if hasattr(node, "keys"):
            raise UserError(
                f"{so_far} is a section; set one of its keys: {', '.join(sorted(node.keys()))}"
            )


def _elsewhere(part: str, config: Any) -> list[str]:
    """Full keys of other sections that look like the one that was meant."""
    full = {
        key: f"config.{section}.{key}"
        for section in config
        if hasattr(config[section], "keys")
        for key in config[section]
    }
    return [full[near] for near in difflib.get_close_matches(part, full, n=1, cutoff=0.8)]


def _one_line(error: BaseException) -> str:
    text = str(error).strip()
    if "Traceback" in text:
        # ml_collections puts the whole of it into its message; the last line says what happened.
        text = text.splitlines()[-1]
    return " ".join(text.split())[:300] or type(error).__name__
