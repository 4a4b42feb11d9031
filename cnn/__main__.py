"""`cnn COMMAND`, also `python -m cnn COMMAND`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from cnn import allocator
from cnn.errors import UserError, unknown

COMMANDS = {
    "train": "train a model, or go on with a run",
    "compare": "compare models under one budget and several seeds: CNN against ViT",
    "reproduce": "run rows of the ledger of papers and add their results",
    "ledger": "published numbers beside ours: write the tables, check them",
    "launch": "train in several processes, on a cluster or in a cloud, or a sweep",
    "runs": "list runs: state, step, last metric, goodput",
    "evaluate": "measure a run's checkpoint on its evaluation split",
    "predict": "classify images; segmenters draw masks over them, detectors boxes",
    "generate": "make pictures with a run's generator",
    "weights": "convert or check weights of torchvision, timm or a run",
    "benchmark": "measure networks and operations, beside stock Flax and PyTorch",
    "plan": "memory, time and cost of a training on chips that are not here",
    "models": "list the models: name, parameters, MACs, paper",
    "data": "look at a data set: counts, sizes, faults, duplicates, a sheet of images",
    "prepare": "download and prepare a tfds data set",
    "report": "write a run's report.html again",
}
"""Commands and what they do; `cnn/cli/NAME.py` has the rest."""

_COMPUTING = ("train", "compare", "reproduce", "evaluate", "predict", "generate")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The words after the program's name; None means those it was started with.

    Returns:
        The exit code: 0, or 2 for a mistake of the user's, which is one line on standard error.
    """
    if argv is None and sys.argv[1:2] and sys.argv[1] in _COMPUTING:
        allocator.restart_with_huge_pages()
    started = time.monotonic()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words, started)
    except UserError as error:
        sys.stderr.write(f"cnn: error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("cnn: interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader has gone, as `head` does; Python would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(words: list[str], started: float) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"cnn {version('cnn')}\n")
        return 0
    command = words[0]
    if command not in COMMANDS:
        raise unknown("command", command, COMMANDS)
    module = importlib.import_module(f"cnn.cli.{command}")
    parser = _Parser(
        prog=f"cnn {command}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    known, overrides = parser.parse_known_args(words[1:])
    for word in overrides:
        if not module.TAKES_CONFIG or (word.startswith("--") and not word.startswith("--config.")):
            flags = [flag for action in parser._actions for flag in action.option_strings]
            raise unknown("argument", word.partition("=")[0], flags)
    known.started = started
    known.overrides = overrides
    return module.run(known)


def _help() -> str:
    lines = [
        "cnn: convolutional networks in JAX and Flax, from a laptop's CPU to a TPU pod",
        "",
        "usage: cnn COMMAND [options]",
        "",
        *(f"  {name:10} {summary}" for name, summary in COMMANDS.items()),
        "",
        "  cnn train --config=configs/mnist5k/lenet5.py --workdir=runs/lenet5",
        "  cnn COMMAND --help says more.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
