"""Experiments on Imagenette, ten classes of ImageNet."""
