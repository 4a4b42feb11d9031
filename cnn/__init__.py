"""Convolutional networks in JAX and Flax, with ConvNeXt and ViT as the comparison."""
