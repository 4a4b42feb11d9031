"""The config section `policy`: what happens to the colours and parts of a training image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cnn.data import policies
from cnn.data.transforms import NO_CHANGES, Change, Changes, Preprocess
from cnn.errors import UserError, unknown


def make_policy(
    preprocess: Preprocess,
    *,
    name: str = "none",
    num_ops: int = 2,
    magnitude: float = 9.0,
    increasing: bool = True,
    color_jitter: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
    erase_rate: float = 0.0,
    cutout_px: int = 0,
) -> Preprocess:
    """The transform that training images go through: crops and flips, then this, then normalised.

    Args:
        preprocess: That of evaluation.
        name: "none", "rand_augment", "rand_augment_timm", "trivial_augment_wide", "auto_augment"
            (ImageNet's policy), "augmix" or "three_augment" (see `cnn.data.policies`).
        num_ops: "rand_augment" and "rand_augment_timm": operations in a row.
        magnitude: "rand_augment": their strength, in [0, 30], or [0, 60] where not `increasing`.
            "rand_augment_timm": in [0, 10]. "augmix": the severity, a whole number in [1, 10], 3 in
            its paper.
        increasing: "rand_augment": see `cnn.data.policies.rand_augment`.
        color_jitter: Largest changes of brightness, contrast, saturation (a factor is 1 plus or
            minus this) and hue (in [0, 0.5]); (0.3, 0.3, 0.3, 0) goes with three_augment. Comes
            after the policy.
        erase_rate: Probability of random erasing, in [0, 1]; 0.25 is usual.
        cutout_px: Side of the gray square of cutout; 0 is off (16 for CIFAR-10 in its paper).

    Returns:
        The same transform, which also has `change`, for `make_augment`.

    Raises:
        UserError: If there is no such policy, or a value is out of its range.
    """
    if name not in _POLICIES:
        raise unknown("policy.name", name, _POLICIES)
    jitter = tuple(color_jitter)
    if len(jitter) != 4 or min(jitter) < 0 or jitter[3] > 0.5:
        raise UserError(
            "policy.color_jitter takes brightness, contrast, saturation and hue, at least 0 and "
            f"the hue at most 0.5; got {jitter}"
        )
    largest = {"rand_augment_timm": 10, "rand_augment": 30 if increasing else 60}.get(name, 30)
    if num_ops < 0 or not 0 <= magnitude <= largest or not 0 <= erase_rate <= 1 or cutout_px < 0:
        raise UserError(
            "policy.num_ops and cutout_px must be at least 0, magnitude between 0 and "
            f"{largest}, erase_rate between 0 and 1; got {num_ops}, {cutout_px}, {magnitude:g}, "
            f"{erase_rate:g}"
        )
    colours: list[Change] = []
    parts: list[Change] = []
    made = _POLICIES[name](num_ops, magnitude, increasing)
    if made is not None:
        colours.append(made)
    if any(jitter):
        colours.append(policies.color_jitter(jitter))
    if erase_rate:
        parts.append(sometimes(policies.random_erasing, erase_rate))
    if cutout_px:
        parts.append(lambda image, rng: policies.cutout(image, rng, cutout_px))
    changes = Changes(tuple(colours), tuple(parts))
    return preprocess._replace(change=None if changes == NO_CHANGES else changes)


def sometimes(change: Change, rate: float) -> Change:
    """The change with this probability, else nothing."""
    return lambda image, rng: change(image, rng) if rng.random() < rate else image


def _augmix(num_ops: int, magnitude: float, increasing: bool) -> Change:
    if not 1 <= magnitude <= 10:
        raise UserError(f"policy.magnitude of augmix must be in [1, 10], got {magnitude:g}")
    return policies.augmix(round(magnitude))


_POLICIES: dict[str, Callable[[int, float, bool], Change | None]] = {
    "none": lambda num_ops, magnitude, increasing: None,
    "rand_augment": lambda num_ops, magnitude, increasing: policies.rand_augment(
        num_ops, magnitude, increasing=increasing
    ),
    "rand_augment_timm": lambda num_ops, magnitude, increasing: policies.rand_augment_timm(
        num_ops, magnitude
    ),
    "trivial_augment_wide": lambda num_ops, magnitude, increasing: policies.trivial_augment_wide(),
    "auto_augment": lambda num_ops, magnitude, increasing: policies.auto_augment(),
    "augmix": _augmix,
    "three_augment": lambda num_ops, magnitude, increasing: policies.three_augment,
}
