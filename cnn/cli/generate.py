"""Make pictures with the generator of a run.

cnn generate --workdir=runs/dcgan --out=digits.png
cnn generate --workdir=runs/dcgan --num=1000 --out=digits
cnn generate --workdir=runs/dcgan --num=8 --interpolate=10 --out=between.png
cnn generate --workdir=runs/stylegan2 --num=5 --style_mixing --out=mixed.png
cnn generate --workdir=runs/facades --inputs plan.png other.png --out=made

A file NAME.png is one sheet of all pictures; anything else is a folder, made where it is missing,
of one PNG each. With --interpolate every row of the sheet goes from one picture to another, and
--num is the number of rows. With --style_mixing, of StyleGAN2, the sheet has --num rows and as many
columns: a picture has the coarse styles (pose and shape) of the first picture of its row and the
fine ones (texture and colour) of the first of its column. A run that translates pictures (pix2pix,
cyclegan) takes them as --inputs, of any size, and makes one of each.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from cnn.data import Preprocess

TAKES_CONFIG = False
BATCH_SIZE = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("--workdir", required=True, metavar="DIR", help="a run of cnn train")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--step", type=int, metavar="N", help="this checkpoint; default the latest")
    which.add_argument("--best", action="store_true", help="the best by checkpoint.best_metric")
    parser.add_argument(
        "--num", type=int, metavar="N", help="pictures; default 64, of --style_mixing 5"
    )
    parser.add_argument("--inputs", nargs="+", metavar="IMAGE", help="pictures to translate")
    parser.add_argument("--out", required=True, metavar="FILE.png", help="a sheet, or a folder")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn")
    parser.add_argument(
        "--interpolate", type=int, default=0, metavar="N", help="rows of N pictures, see above"
    )
    parser.add_argument("--style_mixing", action="store_true", help="of StyleGAN2, see above")


def run(args: argparse.Namespace) -> int:
    """Makes the pictures and writes them."""
    from cnn.cli import workdir
    from cnn.errors import UserError

    _check(args)
    out = pathlib.Path(args.out)
    workdir.check_writable(out.parent if _is_sheet(out) else out, flag="--out")
    opened = open_generator(args)
    if opened.latent_size is None:
        given = {"image": _inputs(opened, args.inputs)}
    else:
        given = _latents(opened.latent_size, args)
    if "fine" in given and not opened.mixes_styles:
        raise UserError("--style_mixing is for a run of StyleGAN2 (task.name='stylegan2')")
    pictures = opened.generate(given)
    _write(out, pictures, args.interpolate or (args.num + 1 if args.style_mixing else 0))
    print(f"step {opened.step}: {len(pictures):,} pictures -> {out}")
    return 0


def _check(args: argparse.Namespace) -> None:
    from cnn.errors import UserError

    if args.num is not None and args.num < 1:
        raise UserError(f"--num must be at least 1, got {args.num}")
    if args.interpolate < 0 or args.interpolate == 1:
        raise UserError(f"--interpolate takes 2 pictures a row or more, got {args.interpolate}")
    if args.seed < 0:
        raise UserError(f"--seed must be at least 0, got {args.seed}")
    if args.style_mixing and args.interpolate:
        raise UserError("--style_mixing and --interpolate are two sheets: give one of them")
    if args.num is None:
        args.num = 5 if args.style_mixing else 64


class Opened(NamedTuple):
    """The generator of a run.

    Attributes:
        step: Of its checkpoint.
        latent_size: Of what it makes pictures of; None where that is pictures.
        preprocess: A picture -> what the networks see of it.
        mixes_styles: Whether coarse and fine styles may be of two latents.
        generate: By name `latent` [n, latent_size] and where wanted `fine`, or `image` as the
            networks see it, -> pictures.
    """

    step: int
    latent_size: int | None
    preprocess: Preprocess
    mixes_styles: bool
    generate: Callable[[Mapping[str, np.ndarray]], np.ndarray]


def open_generator(args: argparse.Namespace) -> Opened:
    """The generator of the run that --workdir names, at --step or the --best.

    Raises:
        UserError: If it makes no pictures, or there is no such checkpoint.
    """
    from cnn.cli import workdir
    from cnn.errors import UserError

    directory = pathlib.Path(args.workdir)
    config, facts = workdir.read_config(directory), workdir.read_facts(directory)
    workdir.start_jax()
    from cnn import experiment as experiments

    experiment = experiments.build_without_data(workdir.for_reading(config, None), facts)
    if not experiment.kind.pictured:
        raise UserError(
            f"the run's task is {config['task']['name']!r}, which makes no pictures; cnn predict "
            "is for classifiers and segmenters"
        )
    generator = experiments.model_of(experiment).generator
    step, state = workdir.restore(directory, experiment, args.step, args.best)
    strategy, task = experiment.strategy, experiment.task
    size = getattr(generator, "latent_size", None)
    compiled = strategy.predict(lambda state, batch: task.predict(state, batch)["images"])

    def generate(given: Mapping[str, np.ndarray]) -> np.ndarray:
        import numpy as np

        from cnn.report import sheet

        total = len(next(iter(given.values())))
        count = experiment.shared(min(BATCH_SIZE, total))
        parts = []
        for start in range(0, total, count):
            # One shape for all, so that it is compiled once.
            places = np.minimum(np.arange(start, start + count), total - 1)
            batch = strategy.put({name: values[places] for name, values in given.items()})
            made = strategy.fetch_examples(compiled(state, batch))
            parts.append(sheet.pixels(made[: total - start]))
        return np.concatenate(parts)

    mixes = hasattr(generator, "styles")
    return Opened(step, size, experiment.preprocess(), mixes, generate)


def _latents(size: int, args: argparse.Namespace) -> dict[str, np.ndarray]:
    from cnn.errors import UserError

    if args.inputs:
        raise UserError("--inputs are for runs that translate pictures, and this makes them anew")
    latents, others = (draw(seed, args.num, size) for seed in (args.seed, args.seed + 1))
    if args.interpolate:
        return {"latent": between(latents, others, args.interpolate)}
    if args.style_mixing:
        return crossed(latents, others)
    return {"latent": latents}


def _inputs(opened: Opened, paths: Sequence[str] | None) -> np.ndarray:
    """The pictures as what is given; what they should become is not known, and not read."""
    import numpy as np

    from cnn.data.decode import read_image
    from cnn.errors import UserError

    if not paths:
        raise UserError("the run translates pictures: say which, --inputs IMAGE ...")
    channels = opened.preprocess.channels // 2
    images = []
    for path in paths:
        picture = read_image(path, channels=channels)
        images.append(opened.preprocess(np.concatenate([picture, picture], axis=-1)))
    return np.stack(images)


def draw(seed: int, count: int, size: int) -> np.ndarray:
    """Latents float32 [count, size]; the first of more are those of fewer."""
    import numpy as np

    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def between(starts: np.ndarray, ends: np.ndarray, count: int) -> np.ndarray:
    """Rows of `count` latents from a start to an end each, one row after another.

    By the angle (White 2016, "Sampling generative networks", section 2.1), since what lies on the
    straight line between two drawn latents is shorter than any that is drawn.
    """
    import numpy as np

    shares = np.linspace(0, 1, count)[None, :, None]
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (starts, ends)]
    angles = np.arccos(np.clip((unit[0] * unit[1]).sum(axis=-1), -1, 1))[:, None, None]
    weights = [np.sin((1 - shares) * angles), np.sin(shares * angles)]
    rows = (weights[0] * starts[:, None] + weights[1] * ends[:, None]) / np.sin(angles)
    return rows.reshape(-1, starts.shape[-1]).astype(np.float32)


def crossed(rows: np.ndarray, columns: np.ndarray) -> dict[str, np.ndarray]:
    """Latents of a sheet with both around it: the corner has the first row's style alone."""
    import numpy as np

    coarse = np.concatenate([rows[:1], rows])
    fine = np.concatenate([rows[:1], columns])
    latents = {
        "latent": np.repeat(coarse, len(fine), axis=0),
        "fine": np.tile(fine, (len(coarse), 1)),
    }
    count = len(fine)
    # Above are the columns' own pictures, on the left the rows'.
    latents["latent"][:count] = fine
    latents["fine"][::count] = coarse
    return latents


def _is_sheet(out: pathlib.Path) -> bool:
    return out.suffix.lower() == ".png"


def _write(out: pathlib.Path, pictures: np.ndarray, columns: int) -> None:
    from cnn.report import files, picture, sheet

    if _is_sheet(out):
        files.write_atomically(out, picture.encode_png(sheet.sheet(pictures, columns)))
        return
    for index, one in enumerate(pictures):
        files.write_atomically(out / f"{index:05d}.png", picture.encode_png(one))
