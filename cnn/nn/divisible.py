"""Widths that hardware likes."""


def make_divisible(width: int | float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor` that is not below 90 % of `width`, and at least one.

    How the MobileNets and EfficientNets round their multiplied widths, in all implementations.
    """
    nearest = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * width else nearest + divisor
