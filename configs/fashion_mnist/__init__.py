"""Experiments on Fashion-MNIST."""
