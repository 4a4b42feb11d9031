"""A stage whose blocks see half of the channels, Wang et al. 2020, "CSPNet"."""

import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, Float

from cnn.nn.conv_norm import Style, conv_norm


class CrossStage(linen.Module):
    """Channels in two halves; one goes through blocks, and both and each block's result are fused.

    Wang et al. 2020, "CSPNet: a new backbone that can enhance learning capability of CNN", figure
    2b, as in YOLOv8 (Jocher et al. 2023): what each block makes is kept, not of the last one alone.

    Attributes:
        features: Channels of the output.
        depth: Blocks, each two 3x3 convolutions.
        shortcut: Whether a block is added to what it reads.
        style: Of all layers.
    """

    features: int
    depth: int
    shortcut: bool
    style: Style

    @linen.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch height width features"]:
        """The fused map."""
        half, act = self.features // 2, self.style.activation
        conv = {"features": half, "kernel_size": 3}
        wide = {"features": 2 * half, "kernel_size": 1}
        x = conv_norm(x, "split", self.style, train=train, activation=act, **wide)
        parts = [x[..., :half], x[..., half:]]
        for index in range(self.depth):
            y = parts[-1]
            for step in range(2):
                name = f"block{index}_{step}"
                y = conv_norm(y, name, self.style, train=train, activation=act, **conv)
            parts.append(parts[-1] + y if self.shortcut else y)
        fused = {"features": self.features, "kernel_size": 1}
        joined = jnp.concatenate(parts, axis=-1)
        return conv_norm(joined, "fuse", self.style, train=train, activation=act, **fused)
