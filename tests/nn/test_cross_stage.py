import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import nn

STYLE = nn.Style("silu", "none", 0.9, 1e-5, nn.WHOLE_BATCH, "float32")
X = jax.random.normal(jax.random.key(0), (1, 5, 6, 4))


@pytest.mark.parametrize("shortcut", [True, False])
def test_half_of_the_channels_pass_the_blocks_by(shortcut):
    stage = nn.CrossStage(6, 2, shortcut, STYLE)
    variables = stage.init(jax.random.key(1), X, train=False)

    def layer(name, x, features, size):
        own = {
            collection: {
                kind: values for kind, values in tree.items() if kind.startswith(f"{name}_")
            }
            for collection, tree in variables.items()
        }
        conv = nn.Conv(features, size)
        y = conv.apply({"params": own["params"][f"{name}_conv"]}, x)
        norm = {kind: tree[f"{name}_norm"] for kind, tree in own.items()}
        return jax.nn.silu(nn.BatchNorm().apply(norm, y, train=False))

    split = layer("split", X, 6, 1)
    parts = [split[..., :3], split[..., 3:]]
    for index in range(2):
        y = layer(f"block{index}_1", layer(f"block{index}_0", parts[-1], 3, 3), 3, 3)
        parts.append(y + parts[-1] if shortcut else y)
    expected = layer("fuse", jnp.concatenate(parts, axis=-1), 6, 1)
    np.testing.assert_allclose(stage.apply(variables, X, train=False), expected, rtol=1e-5)
