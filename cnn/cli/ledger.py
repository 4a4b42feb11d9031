"""Published numbers beside ours: write the tables of the ledger, or look for what does not fit.

    cnn ledger render    # the tables in README.md, experiments/README.md, experiments/*/README.md
    cnn ledger check     # exit code 1 and a line for each thing that is wrong

A row of experiments/PAPER/paper.toml names a paper's number and the config that should give it;
results.csv has the runs, which cnn reproduce adds. check finds a table that was edited by hand, a
result whose log is missing, says something else, or is of another config than the row's is now, and
a row whose config is missing. Statuses follow from the runs; nobody writes them.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Any

from cnn.errors import unknown

TAKES_CONFIG = False
ACTIONS = ("check", "render")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("action", metavar="ACTION", help="render or check")
    parser.add_argument(
        "--experiments",
        default="experiments",
        metavar="DIR",
        help="the papers; config paths start above it; default %(default)s",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the tables, or prints what is wrong; 1 where something is."""
    if args.action not in ACTIONS:
        raise unknown("action", args.action, ACTIONS)
    root = pathlib.Path(args.experiments).resolve()
    from cnn.ledger import papers, tables

    if args.action == "render":
        read = papers.read_all(root)
        changed = tables.write(tables.rendered(root, read))
        for path in changed:
            print(f"wrote {path}")
        print(f"{sum(len(paper.rows) for paper in read)} rows of {len(read)} papers")
        return 0
    return _check(root)


def base_config(root: pathlib.Path) -> dict[str, Any]:
    """The config of all defaults, of the repository that holds these experiments."""
    from cnn.cli import config_file

    return config_file.read(str(root.parent / "configs" / "base.py"), [])


def _check(root: pathlib.Path) -> int:
    from cnn.cli import config_file
    from cnn.ledger import check, papers

    # Before the configs are looked for, since it says better what is wrong with the directory.
    papers.directories(root)
    found = check.findings(root, config_file.read, base_config(root))
    for line in found:
        print(line, file=sys.stderr)
    print(f"{len(found)} things are wrong" if found else "the ledger is as it should be")
    return 1 if found else 0
