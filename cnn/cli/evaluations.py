"""The kinds of `cnn evaluate --on`: what each needs, and which evaluator measures it."""

from __future__ import annotations

import argparse
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cnn.errors import UserError, unknown

if TYPE_CHECKING:
    from cnn.data import Source, Sources
    from cnn.evaluators.frozen import Frozen
    from cnn.evaluators.subject import Subject
    from cnn.report.measurement import Measurement


class Setting:
    """A network and the flags; pictures and features are read when a kind asks for them."""

    def __init__(self, args: argparse.Namespace, subject: Subject, own: Sources | None) -> None:
        self.args = args
        self.subject = subject
        self._own = own

    @functools.cached_property
    def given(self) -> Source:
        """The pictures of --root or --tfds, with their own classes."""
        from cnn import data

        if not self.args.root and not self.args.tfds:
            raise UserError("weights have no pictures of their own: give --root=DIR or --tfds=NAME")
        return data.open_part(root=self.args.root, tfds=self.args.tfds, split=self.args.split)

    def other(self) -> Source:
        """A part of the given pictures, with the network's classes."""
        return self._fitting(self.given)

    def test(self) -> Source:
        """Those, or the run's own evaluation split."""
        from cnn import data

        if self.args.root or self.args.tfds or self._own is None:
            return self.other()
        return data.spread_out(self._own.eval, self.args.limit)

    @functools.cached_property
    def frozen(self) -> Frozen:
        """Features of a training and a test set, whose classes need not be the network's."""
        from cnn import data
        from cnn.evaluators import frozen

        args, sources = self.args, self._own
        if args.root or args.tfds:
            sources = data.open_sources(
                source="tfds" if args.tfds else "folder",
                root=args.root,
                name=args.tfds,
                train_split="",
                eval_split=args.split,
                eval_fraction=0.2,
                cache_mb=0,
                options={},
            )
        if sources is None:
            raise UserError("this evaluation learns: give --root=DIR (with train/ and val/)")
        limited = [data.spread_out(source, args.limit) for source in sources]
        return frozen.extract(self.subject, data.Sources(*limited))

    def published(self, name: str, severity: int) -> tuple[Source, None]:
        """A part of ImageNet-C."""
        from cnn import data

        args = self.args
        if args.tfds:
            whole = f"{args.tfds}/{name}_{severity}"
            source = data.open_part(root=args.root, tfds=whole, split=args.split)
        else:
            # The archives have the kinds of corruptions as folders.
            base = pathlib.Path(args.root).expanduser()
            found = [path for path in (base / name, *base.glob(f"*/{name}")) if path.is_dir()]
            folder = (found or [base / name])[0] / str(severity)
            source = data.open_part(root=str(folder), tfds="", split="")
        return self._fitting(source), None

    def made(self, name: str, severity: int) -> tuple[Source, Callable[..., Any]]:
        """The test pictures, corrupted after they were fitted."""
        from cnn.data.corruptions import Corrupted

        preprocess = self.subject.preprocess
        return Corrupted(self.test(), preprocess.fit, name, severity), preprocess.normalise

    def _fitting(self, source: Source) -> Source:
        from cnn import data

        matched = data.match_classes(source, self.subject.class_names)
        return data.spread_out(matched, self.args.limit)


def _numbers(args: argparse.Namespace, flag: str) -> list[int]:
    text = getattr(args, flag)
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"--{flag} takes whole numbers as 1,5,10, got {text!r}") from None


def _accuracy(name: str, restricted: bool) -> Callable[[Setting], Measurement]:
    def measure(setting: Setting) -> Measurement:
        from cnn.evaluators import accuracy

        return accuracy.measure(setting.subject, setting.other(), name=name, restricted=restricted)

    return measure


def _real(setting: Setting) -> Measurement:
    from cnn.evaluators import real_labels

    # The labels go by file, so classes need not be matched.
    source = setting.given
    names = source.file_names  # type: ignore[attr-defined]
    return real_labels.measure(setting.subject, source, names, setting.args.labels)


def _corruption(published: bool) -> Callable[[Setting], Measurement]:
    def measure(setting: Setting) -> Measurement:
        from cnn.data.corruptions import CORRUPTIONS
        from cnn.evaluators import corruption

        args = setting.args
        names = args.corruptions.split(",") if args.corruptions else list(CORRUPTIONS)
        return corruption.measure(
            setting.subject,
            setting.published if published else setting.made,
            names=names,
            severities=_numbers(args, "severities"),
            published=published,
        )

    return measure


def _calibration(setting: Setting) -> Measurement:
    from cnn.evaluators import calibration

    return calibration.measure(setting.subject, setting.test())


def _per_class(setting: Setting) -> Measurement:
    from cnn.evaluators import accuracy

    return accuracy.measure_classes(setting.subject, setting.test())


def _knn(setting: Setting) -> Measurement:
    from cnn.evaluators import knn

    ks, temperature = _numbers(setting.args, "k"), setting.args.temperature
    return knn.measure(setting.frozen, ks=ks, temperature=temperature)


def _linear_probe(setting: Setting) -> Measurement:
    from cnn.evaluators import linear_probe

    return linear_probe.measure(setting.frozen)


def _few_shot(setting: Setting) -> Measurement:
    from cnn.evaluators import few_shot

    shots, args = _numbers(setting.args, "shots"), setting.args
    return few_shot.measure(setting.frozen, shots=shots, num_seeds=args.seeds, l2=args.l2)


def _generation(setting: Setting) -> Measurement:
    from cnn.cli import generate
    from cnn.evaluators import generation

    args, real = setting.args, setting.test()
    opened = generate.open_generator(args)
    if opened.latent_size is None:
        raise UserError("generation is of pictures made anew, and this run translates pictures")
    made = opened.generate({"latent": generate.draw(0, args.num or len(real), opened.latent_size)})
    return generation.measure(setting.subject, made, real, opened.step)


def _throughput(setting: Setting) -> Measurement:
    from cnn.evaluators import throughput

    return throughput.measure(setting.subject)


KINDS: dict[str, Callable[[Setting], Measurement]] = {
    "calibration": _calibration,
    "corruptions": _corruption(published=False),
    "few_shot": _few_shot,
    "generation": _generation,
    "imagenet_a": _accuracy("imagenet_a", restricted=True),
    "imagenet_c": _corruption(published=True),
    "imagenet_r": _accuracy("imagenet_r", restricted=True),
    "imagenet_real": _real,
    "imagenet_sketch": _accuracy("imagenet_sketch", restricted=False),
    "imagenet_v2": _accuracy("imagenet_v2", restricted=False),
    "knn": _knn,
    "linear_probe": _linear_probe,
    "per_class": _per_class,
    "test_set": _accuracy("test_set", restricted=False),
    "throughput": _throughput,
}
"""What `--on` takes."""


def run(args: argparse.Namespace) -> int:
    """Measures all kinds that were asked for, prints and keeps each as soon as it is there."""
    kinds = [name.strip() for name in args.on.split(",")]
    for name in kinds:
        if name not in KINDS:
            raise unknown("evaluation", name, KINDS)
    _check_flags(args)
    _check_kinds(args, kinds)
    from cnn.cli import workdir

    output = pathlib.Path(args.workdir or args.output) if args.workdir or args.output else None
    config = workdir.read_config(pathlib.Path(args.workdir)) if args.workdir else None
    if output is not None:
        workdir.check_writable(output, flag="--workdir" if args.workdir else "--output")
    workdir.start_jax()
    from cnn.report import evaluation, html, measurement

    if config is not None and "generation" in kinds:
        setting = _of_generator(args, config)
    else:
        setting = _of_weights(args) if config is None else _of_run(args, config)
    for name in kinds:
        found = KINDS[name](setting)
        print("\n".join(measurement.lines(found)), flush=True)
        if output is not None:
            print(f"  kept in {measurement.save(output, found)}")
    if args.workdir and output is not None:
        path = html.write_report(output, evaluation=evaluation.load(output))
        print(f"report: {path}")
    return 0


def _check_flags(args: argparse.Namespace) -> None:
    if args.workdir and (args.output or (args.model and not args.features)):
        raise UserError("--model and --output are for --weights; a run has both")
    if args.weights and (args.best or args.step is not None):
        raise UserError("--step and --best are for --workdir; weights have no steps")
    if args.limit < 0 or args.batch_size < 1:
        raise UserError(
            f"--limit must be at least 0 and --batch_size at least 1, got {args.limit} and "
            f"{args.batch_size}"
        )


def _check_kinds(args: argparse.Namespace, kinds: Sequence[str]) -> None:
    """Refuses what can be refused before anything is read."""
    from cnn.data.corruptions import CORRUPTIONS, SEVERITIES

    for kind in kinds:
        if kind.startswith(("imagenet_", "test_set")) and not (args.root or args.tfds):
            raise UserError(f"{kind} needs pictures: give --root=DIR or --tfds=NAME")
    if "imagenet_real" in kinds and (args.limit or not args.labels):
        raise UserError("imagenet_real needs --labels=real.json, and no --limit")
    for name in args.corruptions.split(",") if args.corruptions else ():
        if name not in CORRUPTIONS:
            raise unknown("corruption", name, CORRUPTIONS)
    if not set(_numbers(args, "severities")) <= set(SEVERITIES):
        raise UserError(f"--severities are from 1 to 5, got {args.severities}")
    for flag in ("k", "shots"):
        _numbers(args, flag)
    _check_generation(args, kinds)


def _check_generation(args: argparse.Namespace, kinds: Sequence[str]) -> None:
    if args.num < 0:
        raise UserError(f"--num must be at least 0, got {args.num}")
    if "generation" not in kinds:
        if args.features:
            raise UserError("--features is for --on=generation")
    elif len(kinds) > 1 or not args.workdir or not args.features:
        raise UserError(
            "generation is measured by itself, of a run (--workdir) whose pictures a classifier "
            "looks at (--features=DIR of its run, or its weights)"
        )


def _of_run(args: argparse.Namespace, config: dict[str, Any]) -> Setting:
    from cnn import experiment as experiments
    from cnn.cli import workdir

    directory = pathlib.Path(args.workdir)
    if config["task"]["name"] != "classification":
        raise UserError(
            f"this is for classification, and the task of {directory} is "
            f"{config['task']['name']!r}; for images that are made there is --on=generation"
        )
    config = workdir.for_reading(config, args.views)
    if args.root or args.tfds:
        facts = workdir.read_facts(directory)
        experiment = experiments.build_without_data(config, facts)
    else:
        experiment = experiments.build(config)
    step, state = workdir.restore(directory, experiment, args.step, args.best)
    return Setting(args, experiment.subject(state, step), experiment.sources)


def _of_generator(args: argparse.Namespace, config: dict[str, Any]) -> Setting:
    """The classifier of --features, and the pictures that the generator learnt from."""
    from cnn import experiment as experiments
    from cnn.cli import workdir

    looking = {**vars(args), "step": None, "best": False, "root": "", "tfds": ""}
    directory = pathlib.Path(args.features)
    if (directory / workdir.CONFIG).exists():
        found = {**looking, "workdir": args.features}
        setting = _of_run(argparse.Namespace(**found), workdir.read_config(directory))
    else:
        setting = _of_weights(argparse.Namespace(**{**looking, "weights": args.features}))
    own = None
    if not (args.root or args.tfds):
        own = experiments.build(workdir.for_reading(config, None)).sources
    return Setting(args, setting.subject, own)


def _of_weights(args: argparse.Namespace) -> Setting:
    import jax.numpy as jnp
    import optax

    from cnn import data, parallel
    from cnn.cli import opened
    from cnn.core import TrainState
    from cnn.evaluators.subject import make_subject
    from cnn.tasks import classification

    network, preprocess, class_names = opened.open_network(args.weights, args.model)
    options = {"label_smoothing": 0.0, "top_k": 0, "accumulate_steps": 1}
    task = classification.make(network.model(), optax.identity(), **options)
    params, model_state = network.variables["params"], dict(network.variables)
    del model_state["params"]
    strategy = parallel.make_strategy(strategy="mesh", num_devices=1)
    state = TrainState(jnp.zeros((), jnp.int32), params, model_state, ())
    subject = make_subject(
        task,
        strategy,
        strategy.unpack(state),
        preprocess=preprocess,
        views=data.make_views(preprocess, args.views or "center"),
        seen=args.views or "center",
        class_names=tuple(class_names),
        step=0,
        batch_size=args.batch_size,
        num_threads=2,
    )
    return Setting(args, subject, None)
