"""Where patches are in the image, for networks that do not see it: position embeddings."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnn.errors import UserError

Grid = tuple[int, int]
"""Rows and columns of patches."""


def resample_positions(
    embedding: Float[Array, "1 old_tokens width"], old: Grid, new: Grid, *, num_prefix: int
) -> Float[Array, "1 new_tokens width"]:
    """A position embedding for another number of patches, for images of another size.

    Bicubic, and antialiased where it shrinks, as in timm; the resolution changes as in Dosovitskiy
    et al. 2021, section 3.2.

    Args:
        embedding: Of the prefix, then of the patches row by row.
        old: Rows and columns that it is for.
        new: Rows and columns that are wanted.
        num_prefix: How many tokens before the patches have positions; theirs stay as they are.

    Raises:
        UserError: If the embedding is not for that many tokens.
    """
    _, tokens, width = embedding.shape
    if tokens != num_prefix + old[0] * old[1]:
        raise UserError(
            f"a position embedding for {tokens} tokens is not one of {old[0]}x{old[1]} patches"
            f" and {num_prefix} tokens before them"
        )
    if old == new:
        return embedding
    prefix, patches = embedding[:, :num_prefix], embedding[:, num_prefix:]
    patches = jax.image.resize(patches.reshape(*old, width), (*new, width), "cubic", antialias=True)
    return jnp.concatenate([prefix, patches.reshape(1, -1, width)], axis=1)


def sincos2d_positions(grid: Grid, width: int) -> Float[Array, "1 patches width"]:
    """Fixed positions: sines and cosines of the column and of the row, a quarter of the width each.

    The wave lengths by 2 pi rise geometrically from 1 to 10000 patches. Chen et al. 2021, "An
    empirical study of training self-supervised vision transformers" (MoCo v3), as in big_vision.

    Args:
        grid: Rows and columns.
        width: Of a token; a multiple of 4, and at least 8.

    Raises:
        UserError: If there is no such width.
    """
    if width % 4 or width < 8:
        raise UserError(f"width is {width}: position 'sincos2d' needs a multiple of 4 from 8 on")
    rows, columns = np.indices(grid).reshape(2, -1, 1)
    frequencies = 10000.0 ** -np.linspace(0, 1, width // 4)[None]
    angles = columns * frequencies, rows * frequencies
    waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return jnp.asarray(np.concatenate(waves, axis=-1)[None], jnp.float32)
