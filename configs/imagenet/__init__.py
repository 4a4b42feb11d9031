"""Experiments on ImageNet."""
