"""Look at the data of a config before training on them, or find proposals in their pictures.

cnn data inspect --config=configs/folder.py --config.data.root=photos
cnn data propose --config=configs/boxes.py:coco --config.data.root=DIR --output=proposals

`inspect`: counts, balance of the classes, sizes, mean and deviation of the channels (for
config.preprocess.mean and .std), files that cannot be read, pictures that are in both parts, how
fast one thread reads, decodes, augments and brings images to the device, and a sheet of training
images as the model sees them; where config.proposals names files, how many objects those cover. The
exit code is 2 if a file cannot be read.

`propose`: boxes that may hold an object, by selective search, for detectors that make no proposals
of their own (Fast R-CNN, R-CNN). They are written to train.npz and eval.npz in the folder --output,
for config.proposals; shown is how many of the objects they cover at an IoU of 0.5. Proposals of
your own: `cnn/data/proposals.py` says what a file holds.
"""

from __future__ import annotations

import argparse
import pathlib
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn.data.inspection import Part

TAKES_CONFIG = True
SHEET_COUNT = 48
SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("action", choices=["inspect", "propose"], help="what to do")
    parser.add_argument("--config", required=True, metavar="FILE.py", help="the experiment")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="read N of each part")
    parser.add_argument(
        "--sheet", default="sheet.png", metavar="FILE.png", help="contact sheet; default sheet.png"
    )
    parser.add_argument("--output", metavar="DIR", help="of propose: where files go")
    parser.add_argument(
        "--quality", action="store_true", help="of propose: more boxes, in several times as long"
    )


def run(args: argparse.Namespace) -> int:
    """Reads both parts of the data; 2 if a file cannot be read."""
    from cnn.cli import propose
    from cnn.errors import UserError

    if args.limit < 0:
        raise UserError(f"--limit must be at least 0, got {args.limit}")
    return propose.run(args) if args.action == "propose" else _inspect(args)


def _inspect(args: argparse.Namespace) -> int:
    import jax

    from cnn.cli import config_file, propose
    from cnn.data import inspection

    config = config_file.read(args.config, args.overrides)
    # What is decoded here need not be kept.
    config["data"]["cache_mb"] = 0
    from cnn import experiment as experiments

    sources = experiments.call(config, "data")
    augment = experiments.make_augment(config)
    parts = []
    for source in sources:
        begun = time.perf_counter()
        part = inspection.inspect_part(source, limit=args.limit)
        print_part(part, source.info.class_names, time.perf_counter() - begun)
        parts.append(part)
    print_duplicates(*parts)
    propose.print_covered(sources, config, args.limit)
    speed = inspection.measure_speed(
        sources.train,
        augment,
        lambda batch: jax.block_until_ready(jax.device_put(batch, may_alias=False)),
    )
    parts_of_it = ", ".join(
        f"{name} {1e3 * seconds:.3f} ms ({seconds / sum(speed):.0%})"
        for name, seconds in speed._asdict().items()
    )
    print(f"one thread: {1 / sum(speed):,.0f} images/s; {parts_of_it}; medians")
    print(f"training images as the model sees them: {write_sheet(args.sheet, sources, augment)}")
    return 2 if any(part.faults for part in parts) else 0


def print_part(part: Part, class_names: tuple[str, ...], seconds: float) -> None:
    """What a part holds, in a few lines."""
    some = "" if part.num_read == part.num_examples else f", of which {part.num_read:,} were read"
    print(f"{part.name}: {part.num_examples:,} examples{some} ({seconds:.1f} s)")
    if part.per_class:
        # Classes of which there is nothing are the worst of the balance.
        counts = sorted(((part.per_class[name], name) for name in class_names), reverse=True)
        (most, most_name), (least, least_name) = counts[0], counts[-1]
        print(
            f"  {len(class_names)} classes: most {most_name} ({most:,}), least {least_name} "
            f"({least:,})"
        )
    sizes = part.sizes.most_common(3)
    if sizes:
        heights, widths = (sorted(shape[i] for shape in part.sizes.elements()) for i in (0, 1))
        middle = len(heights) // 2
        shown = ", ".join(f"{h}x{w}x{c} ({n:,})" for (h, w, c), n in sizes)
        print(
            f"  height {heights[0]} to {heights[-1]} (median {heights[middle]}), width {widths[0]} "
            f"to {widths[-1]} (median {widths[middle]}); commonest {shown}"
        )
        print(f"  mean {_numbers(part.mean)}, std {_numbers(part.std)}")
    print(f"  unreadable: {len(part.faults):,}")
    for index, error in part.faults[:SHOWN]:
        print(f"    {index}: {error}")


def print_duplicates(train: Part, held_out: Part) -> None:
    """How many pictures come twice."""
    from cnn.data.inspection import duplicates

    both = duplicates(train, held_out)
    print(
        f"same pixels: {len(both):,} in both parts, {len(duplicates(train, train)):,} twice in "
        f"training, {len(duplicates(held_out, held_out)):,} twice in evaluation"
    )
    for first, second in both[:SHOWN]:
        print(f"    training {first} is evaluation {second}")


def write_sheet(path: str, sources: Any, augment: Any) -> pathlib.Path:
    """Writes the contact sheet; a UserError where that is impossible."""
    import numpy as np
    from PIL import Image

    from cnn.data import make_by_epoch, make_sampling, train_batches
    from cnn.data.inspection import contact_sheet
    from cnn.errors import UserError

    source = make_sampling(sources.train, on_error="skip")
    count = min(SHEET_COUNT, len(source))
    seen = make_by_epoch(augment)
    batch = next(train_batches(source, seen, batch_size=count, seed=0, num_threads=0))
    try:
        Image.fromarray(contact_sheet(np.asarray(batch["image"]))).save(path)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write --sheet={path}: {error}") from error
    return pathlib.Path(path)


def _numbers(values: Any) -> str:
    return "(" + ", ".join(f"{value:.4f}" for value in values) + ")"
