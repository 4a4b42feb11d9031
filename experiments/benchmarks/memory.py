"""Resident memory of streaming 50,000 JPEGs through two workers, over three epochs.

python experiments/benchmarks/memory.py FOLDER

The files of FOLDER (class folders of JPEGs) are taken again and again until they are 50,000, each
under a name of its own. Batches are read as `cnn train` reads them with `loader.num_workers=2`.
Proportional set sizes of all processes of the run, which count shared memory once, Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import sys
import tempfile
import threading
import time

import numpy as np

from cnn import data
from cnn.data.folder import FolderSource

BATCH, SIZE, WORKERS, COUNT, EPOCHS = 128, 224, 2, 50_000, 3


def resident_mb() -> float:
    """Megabytes of this process and those it started."""
    parents = {}
    for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(status.parent.name)] = int(status.read_text().rsplit(")", 1)[1].split()[1])
    family = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= grown
    total = 0
    for pid in family:
        with contextlib.suppress(OSError):
            rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total / 1024


def main() -> None:
    """Streams, and prints the memory at the end of each epoch and the most there was."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    files = sorted(parser.parse_args().folder.rglob("*.[jJ][pP]*[gG]"))
    most = [0.0]

    def watch() -> None:
        while True:
            most[0] = max(most[0], resident_mb())
            time.sleep(0.5)

    with tempfile.TemporaryDirectory() as root:
        paths = [pathlib.Path(root, f"{number:05}.jpg") for number in range(COUNT)]
        for number, path in enumerate(paths):
            path.symlink_to(files[number % len(files)].absolute())
        source = FolderSource(
            paths, np.zeros(COUNT, int).tolist(), data.SourceInfo("files", ("a",))
        )
        preprocess = data.make_preprocess(
            image_size=SIZE, channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
        )
        augment = data.make_augment(preprocess, crop_area_min=0.08, flip_rate=0.5)
        batches = data.train_batches(source, augment, batch_size=BATCH, seed=0, num_workers=WORKERS)
        threading.Thread(target=watch, daemon=True).start()
        with contextlib.closing(batches):
            for epoch in range(EPOCHS):
                begun = time.perf_counter()
                for _ in range(COUNT // BATCH):
                    next(batches)
                seconds = time.perf_counter() - begun
                sys.stdout.write(
                    f"epoch {epoch + 1}: {resident_mb():,.0f} MB at its end, {most[0]:,.0f} MB at "
                    f"most so far; {COUNT // BATCH * BATCH / seconds:,.0f} images/s\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()
