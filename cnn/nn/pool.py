"""Pooling by name, for fields that a config can set."""

from flax import linen
from jaxtyping import Array, Float

from cnn import ops
from cnn.errors import UserError
from cnn.nn.family import choose

_POOLS = {
    "avg": ops.avg_pool,
    "max": ops.max_pool,
    "stochastic": ops.probability_weighted_pool,
}


class Pool(linen.Module):
    """Makes one value of each window of each channel; without parameters.

    Attributes:
        kind: `avg`, `max`, or `stochastic`: drawn in training, by the rng "dropout", and the draws'
            mean in evaluation. The last takes a negative value for 0, so it belongs after an
            activation that has none, such as ReLU.
        window: Height and width of the window, in pixels.
        stride: Pixels between neighbouring windows; None is the window's size.
        ceil_mode: As in `ops.max_pool`; of `max` only.
    """

    kind: str
    window: ops.Pair
    stride: ops.Pair | None = None
    ceil_mode: bool = False

    @linen.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch new_height new_width channels"]:
        """The pooled images.

        Raises:
            UserError: If there is no such kind, or it has no `ceil_mode`.
        """
        pool = choose("pool", self.kind, _POOLS)
        if self.ceil_mode:
            if self.kind != "max":
                raise UserError(f"pooling with ceil_mode must be 'max', got {self.kind!r}")
            return ops.max_pool(x, self.window, stride=self.stride, ceil_mode=True)
        if train and self.kind == "stochastic":
            key = self.make_rng("dropout")
            return ops.stochastic_pool(x, self.window, key=key, stride=self.stride)
        return pool(x, self.window, stride=self.stride)
