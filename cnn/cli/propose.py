"""`cnn data propose`: files of proposals by selective search, and how many objects they cover."""

from __future__ import annotations

import argparse
import pathlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cnn.errors import UserError


def run(args: argparse.Namespace) -> int:
    """Looks for proposals in both parts, writes them and prints a line for each part.

    Raises:
        UserError: If OpenCV or --output is missing, the data have no boxes, or a picture cannot be
            read.
    """
    from cnn import experiment as experiments
    from cnn.cli import config_file, workdir
    from cnn.data import selective_search

    if not args.output:
        raise UserError("proposals are written to a folder: say where, --output=DIR")
    selective_search.check_installed()
    folder = pathlib.Path(args.output)
    workdir.check_writable(folder, flag="--output")
    config = config_file.read(args.config, args.overrides)
    # Each picture is read once.
    config["data"]["cache_mb"] = 0
    threads = max(1, config["loader"]["num_threads"])
    sources = experiments.call(config, "data")
    if sources.train.info.target != "boxes":
        raise UserError(f"{sources.train.info.name} has no boxes of objects to look for")
    paths = {part: folder / f"{part}.npz" for part in ("train", "eval")}
    for source, path in zip(sources, paths.values(), strict=True):
        _write(source, path, args.limit, args.quality, threads)
    config["proposals"] = {part: str(path) for part, path in paths.items()}
    print_covered(sources, config, args.limit)
    print(" ".join(f"--config.proposals.{part}={path}" for part, path in paths.items()))
    return 0


def print_covered(sources: Any, config: Any, limit: int) -> None:
    """How many objects the proposals of a config cover, in a line for each part.

    Args:
        sources: Both parts, without proposals.
        config: The run's; where its section `proposals` names no files, nothing is printed.
        limit: How many pictures of each part are read; 0 is all.
    """
    import numpy as np

    from cnn import experiment as experiments
    from cnn.data.proposals import COVERED_IOU, num_covered

    found = experiments.call(config, "proposals", sources)
    if found is sources:
        return
    for source in found:
        count = min(limit, len(source)) if limit else len(source)
        rows = []
        for index in range(count):
            example = source[index]
            proposals = example.get("proposals")
            assert proposals is not None
            rows.append((len(proposals), *num_covered(example, proposals)))
        boxes, hits, objects = np.sum(rows, axis=0).tolist()
        print(
            f"{source.info.name}: {boxes / count:,.1f} proposals for each of {count:,} pictures; "
            f"they cover {hits:,} of {objects:,} objects ({hits / max(1, objects):.1%}) at an IoU "
            f"of {COVERED_IOU:g}"
        )


def _write(source: Any, path: pathlib.Path, limit: int, quality: bool, threads: int) -> None:
    """Writes the proposals of a part."""
    from cnn.data.contract import ids_of
    from cnn.data.proposals import Scored, write_proposals
    from cnn.data.selective_search import selective_search

    def look(index: int) -> Scored:
        return selective_search(source[index]["image"], quality=quality)

    ids = ids_of(source)[: limit or None]
    with ThreadPoolExecutor(threads) as pool:
        write_proposals(path, dict(zip(ids, pool.map(look, range(len(ids))), strict=True)))
