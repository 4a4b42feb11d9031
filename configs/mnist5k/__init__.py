"""Experiments on the 5,000 real MNIST digits that need no download."""
