import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import models, nn, ops
from cnn.models.airbench import Group, dirac, whitening_kernel
from tests.models.rows import build, evaluate, images


def correlated(count=512, channels=3):
    """Smooth images, whose neighbouring pixels are alike and whose channels are too."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, 10, 10, 1)) + 0.3 * rng.standard_normal(
        (count, 10, 10, channels)
    )
    return jnp.asarray((x[:, 1:, 1:] + x[:, :-1, 1:] + x[:, 1:, :-1]).astype(np.float32))


def test_whitened_patches_are_uncorrelated_and_of_variance_one():
    x = correlated()
    kernel = whitening_kernel(x, epsilon=0.0)
    assert kernel.shape == (2, 2, 3, 24)
    y = np.asarray(ops.conv(x, kernel), np.float64).reshape(-1, 24)
    moments = y.T @ y / len(y)
    np.testing.assert_allclose(moments[:12, :12], np.eye(12), atol=2e-3)
    # The other half is the same with the other sign.
    np.testing.assert_array_equal(kernel[..., 12:], -kernel[..., :12])


def test_the_largest_variance_comes_first_and_noise_is_not_blown_up():
    x = correlated()
    norms = np.linalg.norm(np.asarray(whitening_kernel(x, epsilon=0.0)).reshape(12, 24), axis=0)
    # An eigenvector by the root of its eigenvalue: the larger this, the shorter.
    assert np.all(np.diff(norms[:12]) >= -1e-4)
    bounded = np.asarray(whitening_kernel(x, epsilon=4.0)).reshape(12, 24)
    assert np.linalg.norm(bounded, axis=0).max() <= 0.5 + 1e-5


def test_patches_of_another_size_and_number_of_channels():
    x = correlated(channels=1)
    kernel = whitening_kernel(x, size=3)
    assert kernel.shape == (3, 3, 1, 18)
    model, variables = build("airbench_test", images("airbench_test", 1)[..., :1], patch_size=3)
    assert variables["params"]["backbone"]["stem_conv"]["kernel"].shape == kernel.shape
    assert evaluate(model, variables, images("airbench_test")[..., :1]).shape == (4, 5)


@pytest.mark.parametrize("features", [3, 5, 8])
def test_a_convolution_starts_as_the_identity(features):
    kernel = dirac(jax.random.key(0), (3, 3, 5, features), jnp.float32)
    x = jax.random.normal(jax.random.key(1), (1, 6, 6, 5))
    y = ops.conv(x, kernel, padding=1)
    kept = min(5, features)
    np.testing.assert_allclose(y[..., :kept], x[..., :kept], rtol=1e-6)
    assert np.abs(kernel[..., kept:]).max(initial=0) <= 1 / np.sqrt(45)
    assert np.all(np.std(kernel[..., kept:], axis=(0, 1, 2)) > 0.05)


def test_a_group_is_pooled_before_its_first_norm():
    group = Group(4, False, "relu", nn.Sync(), "float32")
    x = jax.random.normal(jax.random.key(0), (2, 7, 6, 3))
    variables = jax.jit(lambda x: group.init(jax.random.key(1), x, train=False))(x)

    def conv(name, y):
        return ops.conv(y, variables["params"][name]["kernel"], padding=1)

    y = jax.nn.relu(ops.max_pool(conv("conv0", x), 2) / np.sqrt(1 + 1e-12))
    y = jax.nn.relu(conv("conv1", y))
    np.testing.assert_allclose(group.apply(variables, x, train=False), y, rtol=1e-5, atol=1e-6)


def gradients(**fields):
    model, variables = build("airbench_test", **fields)
    x = images("airbench_test")

    def loss(params):
        logits, _ = model.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return jnp.sum(jax.nn.log_softmax(logits)[:, 0])

    grads = jax.jit(jax.grad(loss))(variables["params"])
    return {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, grad in jax.tree.leaves_with_path(grads)
        if not np.any(grad)
    }


def test_the_whitening_kernel_and_the_gains_are_not_trained():
    norms = {f"backbone/group{g}/norm{n}/scale" for g in (0, 1) for n in (0, 1)}
    assert gradients(train_frozen=False) == {"backbone/stem_conv/kernel", *norms}
    assert gradients(train_frozen=True) == set()
    assert not models.backbone("airbench94").train_frozen


def test_what_is_not_trained_is_a_parameter_like_others():
    free, variables = build("airbench_test")
    frozen, others = build("airbench_test", train_frozen=False)
    assert jax.tree.map(jnp.shape, others) == jax.tree.map(jnp.shape, variables)
    x = images("airbench_test")
    np.testing.assert_allclose(
        evaluate(frozen, variables, x), evaluate(free, variables, x), rtol=1e-6
    )


def test_the_head_scales_products_with_the_largest_of_each_map():
    model, variables = build("airbench_test")
    x = images("airbench_test")
    part = {collection: tree["backbone"] for collection, tree in variables.items()}
    maps = evaluate(models.backbone("airbench_test"), part, x).maps
    assert {stride: m.shape[1:] for stride, m in maps.items()} == {
        1: (31, 31, 24),
        2: (15, 15, 8),
        4: (7, 7, 12),
    }
    kernel = np.asarray(variables["params"]["head"]["logits"]["kernel"])
    expected = np.asarray(maps[4]).max((1, 2)) @ kernel / 9
    np.testing.assert_allclose(evaluate(model, variables, x), expected, rtol=1e-4, atol=1e-6)
