"""Layer normalisation, Ba, Kiros & Hinton 2016, as ConvNeXt, ViT and Mixer have it."""

import functools

from flax import linen

# Linen's fast variance E[x^2] - E[x]^2 loses digits that the gradients of deep networks then lack.
LayerNorm = functools.partial(linen.LayerNorm, epsilon=1e-6, use_fast_variance=False)
"""linen's layer with the epsilon of these networks (torch's default is 1e-5)."""
