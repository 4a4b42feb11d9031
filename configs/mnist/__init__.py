"""Experiments on the 70,000 digits of MNIST."""
