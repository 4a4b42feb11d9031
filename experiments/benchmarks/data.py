"""Images/s of JPEGs -> RandomResizedCrop(224), flip, normalise: ours beside tf.data and torch.

python experiments/benchmarks/data.py FOLDER --tensorflow=PYTHON --torch=PYTHON --rounds=9

FOLDER holds class folders of JPEGs. A side runs in a process of its own, of the interpreter given,
with two workers (threads; processes of torch's DataLoader), and is asked for batches in turns. A
core's images/s are by the processor time of all its processes, which others on the machine hardly
change; wall-clock time is of both cores together. Linux only. With
--upscale=DIR the first 2,000 files are first written there, 500x375, quality 90.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

BATCH, SIZE, WORKERS = 64, 224, 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def ours(files: list[str]) -> Iterator[Any]:
    """Batches of `cnn.data.train_batches`."""
    import numpy as np

    from cnn import data
    from cnn.data.folder import FolderSource

    info = data.SourceInfo("files", ("a",))
    source = FolderSource(
        [pathlib.Path(f) for f in files], np.zeros(len(files), int).tolist(), info
    )
    preprocess = data.make_preprocess(image_size=SIZE, channels=3, mean=MEAN, std=STD)
    augment = data.make_augment(preprocess, crop_area_min=0.08, flip_rate=0.5)
    return data.train_batches(source, augment, batch_size=BATCH, seed=0, num_threads=WORKERS)


def tensorflow(files: list[str]) -> Iterator[Any]:
    """tf.data: decode_and_crop_jpeg of a sampled box, resize, flip, normalise."""
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(WORKERS)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    whole = tf.constant([[[0.0, 0.0, 1.0, 1.0]]])

    def load(path: Any) -> Any:
        encoded = tf.io.read_file(path)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(encoded),
            whole,
            area_range=(0.08, 1.0),
            aspect_ratio_range=(3 / 4, 4 / 3),
            max_attempts=10,
        )
        window = tf.stack([begin[0], begin[1], size[0], size[1]])
        image = tf.image.decode_and_crop_jpeg(encoded, window, channels=3)
        image = tf.image.resize(image, (SIZE, SIZE))
        return (tf.image.random_flip_left_right(image) / 255 - MEAN) / STD

    paths = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files), seed=0).repeat()
    batches = paths.map(load, num_parallel_calls=WORKERS).batch(BATCH).prefetch(2)
    return iter(batches)


def torch(files: list[str]) -> Iterator[Any]:
    """Transforms of torchvision on Pillow images, in the worker processes of a DataLoader."""
    import torch.utils.data
    from PIL import Image
    from torchvision import transforms

    change = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    class Files(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> Any:
            return change(Image.open(files[index]).convert("RGB"))

    loader = torch.utils.data.DataLoader(
        Files(), BATCH, shuffle=True, num_workers=WORKERS, drop_last=True, persistent_workers=True
    )
    while True:
        yield from loader


SIDES = {"ours": ours, "tensorflow": tensorflow, "torch": torch}


def serve(side: str, files: list[str]) -> None:
    """For each line of standard input, a number of batches, answers with the seconds they took."""
    batches = SIDES[side](files)
    next(batches)
    _say("ready")
    for line in sys.stdin:
        begun = time.perf_counter()
        for _ in range(int(line)):
            next(batches)
        _say(str(time.perf_counter() - begun))
    os._exit(0)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def upscale(files: list[str], where: pathlib.Path) -> list[str]:
    """Copies of 500x375, quality 90."""
    from PIL import Image

    where.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(files[:2000]):
        path = where / f"{number:05}.jpg"
        if not path.exists():
            image = Image.open(file).convert("RGB")
            image.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
    return sorted(map(str, where.glob("*.jpg")))


def measure(pythons: dict[str, str], files: list[str], rounds: int, count: int) -> None:
    """Asks the sides in turns, and prints medians and the ratios of neighbours in time."""
    from cnn import allocator

    children = {}
    for side, python in pythons.items():
        command = [python, __file__, "--serve", side]
        # `cnn train` gives itself huge pages.
        pages = allocator.huge_pages_for_children() if side == "ours" else contextlib.nullcontext()
        with pages:
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(json.dumps(files) + "\n")
        child.stdin.flush()
        assert child.stdout.readline() == "ready\n", f"{side} did not start"
        os.killpg(child.pid, signal.SIGSTOP)
        children[side] = child
    wall: dict[str, list[float]] = {side: [] for side in children}
    cores: dict[str, list[float]] = {side: [] for side in children}
    for _ in range(rounds):
        for side, child in children.items():
            # The other sides stand still, so that nobody reads ahead in another's time.
            os.killpg(child.pid, signal.SIGCONT)
            # What was prepared before is not counted: 2 * WORKERS batches and those under way.
            for batches, keep in ((3 * WORKERS, False), (count, True)):
                before = processor_seconds(child.pid)
                child.stdin.write(f"{batches}\n")
                child.stdin.flush()
                taken = float(child.stdout.readline())
                if keep:
                    wall[side].append(taken)
                    cores[side].append(processor_seconds(child.pid) - before)
            os.killpg(child.pid, signal.SIGSTOP)
    _say("| side | images/s of a core | ours is faster by (quartiles) | images/s on the clock |")
    _say("| --- | --- | --- | --- |")
    for side, taken in cores.items():
        speed, clock = (count * BATCH / statistics.median(x) for x in (taken, wall[side]))
        ratios = [other / own for other, own in zip(taken, cores["ours"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        _say(f"| {side} | {speed:,.0f} | {middle:.2f} ({low:.2f} to {high:.2f}) | {clock:,.0f} |")
        os.killpg(children[side].pid, signal.SIGKILL)
        children[side].wait()


def processor_seconds(group: int) -> float:
    """User and system time of the processes of a group, so far."""
    ticks = 0
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rsplit(")", 1)[1].split()
            if int(fields[2]) == group:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Reads the flags."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--tensorflow", metavar="PYTHON", help="interpreter that has TensorFlow")
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that has torchvision")
    parser.add_argument("--upscale", metavar="DIR", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, default=10, help="in a round")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, json.loads(sys.stdin.readline()))
        return
    files = sorted(str(path) for path in pathlib.Path(args.folder).rglob("*.[jJ][pP]*[gG]"))
    if args.upscale:
        files = upscale(files, args.upscale)
    pythons = {"ours": sys.executable, "tensorflow": args.tensorflow, "torch": args.torch}
    measure({k: v for k, v in pythons.items() if v}, files, args.rounds, args.batches)


if __name__ == "__main__":
    main()
