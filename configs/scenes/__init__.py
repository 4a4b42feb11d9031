"""Experiments on scenes composed of the embedded digits, whose masks and boxes are known."""
