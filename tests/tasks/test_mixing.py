import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from cnn.errors import UserError
from cnn.tasks import classification
from cnn.tasks.mixing import boxes, make_mix, mix_targets

BATCH = 8
# Example i is full of i + 1, so a pixel says whose it is.
IMAGES = jnp.broadcast_to(jnp.arange(1.0, BATCH + 1)[:, None, None, None], (BATCH, 12, 10, 3))
ONES = jnp.ones(BATCH)


def own(mixed):
    """Of each pixel, the share that the example itself has in it."""
    partner = IMAGES[::-1]
    return np.asarray((mixed - partner) / (IMAGES - partner))


@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_pixels_and_targets_are_mixed_by_the_same_share(kind, per_example) -> None:
    mix = make_mix({f"{kind}_alpha": 1.0, "per_example": per_example})
    for seed in range(5):
        images, kept = jax.jit(mix)(jax.random.key(seed), IMAGES, ONES)
        shares = own(images)
        np.testing.assert_allclose(shares.mean((1, 2, 3)), kept, atol=1e-5)
        if kind == "mixup":
            np.testing.assert_allclose(np.ptp(shares, axis=(1, 2, 3)), 0, atol=1e-5)
        else:
            np.testing.assert_allclose(shares, np.round(shares), atol=1e-5)
        assert (len(np.unique(np.round(kept, 5))) > 1) == per_example
        targets = mix_targets(jax.nn.one_hot(jnp.arange(BATCH), BATCH), kept)
        np.testing.assert_allclose(targets.sum(-1), 1, atol=1e-6)
        np.testing.assert_allclose(np.diag(targets), kept, atol=1e-6)
        np.testing.assert_allclose(np.diag(targets[:, ::-1]), 1 - kept, atol=1e-6)


def test_both_are_drawn_half_of_the_time_and_the_key_decides() -> None:
    mix = jax.jit(make_mix({"mixup_alpha": 1.0, "cutmix_alpha": 1.0, "per_example": True}))
    shares = np.concatenate([own(mix(jax.random.key(seed), IMAGES, ONES)[0]) for seed in range(25)])
    smooth = (np.ptp(shares, axis=(1, 2, 3)) < 1e-4) & (shares[:, 0, 0, 0] % 1 > 1e-4)
    # Binomial(200, 1/2), less the few that a box of nothing makes: five deviations are 35.
    assert 65 < smooth.sum() < 135
    again = mix(jax.random.key(3), IMAGES, ONES)[0]
    np.testing.assert_array_equal(again, mix(jax.random.key(3), IMAGES, ONES)[0])
    assert not np.array_equal(again, mix(jax.random.key(4), IMAGES, ONES)[0])


def test_the_mean_share_is_that_of_the_beta_distribution() -> None:
    mix = jax.jit(make_mix({"mixup_alpha": 0.2, "per_example": True}))
    kept = np.concatenate([mix(jax.random.key(s), IMAGES, ONES)[1] for s in range(100)])
    # Beta(0.2, 0.2): mean 1/2, standard deviation 0.4226; five standard errors are 0.075.
    assert abs(kept.mean() - 0.5) < 0.075
    assert abs(kept.std() - 0.4226) < 0.03


def test_padding_is_mixed_into_nothing() -> None:
    weight = ONES.at[-3:].set(0.0)
    padded = IMAGES.at[-3:].set(0.0)
    for options in ({"mixup_alpha": 1.0}, {"cutmix_alpha": 1.0}):
        images, kept = make_mix(options)(jax.random.key(1), padded, weight)
        np.testing.assert_array_equal(images[:3], padded[:3])
        np.testing.assert_array_equal(kept[:3], 1)


def test_boxes_have_their_area_and_the_border_cuts_them() -> None:
    kept = jnp.full(2000, 0.75)
    inside = np.asarray(boxes(jax.random.key(0), kept, 40, 60))
    areas = inside.sum((1, 2))
    assert areas.max() == 20 * 30
    assert areas.min() < 0.5 * areas.max()
    corners = np.argwhere(inside.any(0))
    assert corners.min(0).tolist() == [0, 0]
    assert corners.max(0).tolist() == [39, 59]
    assert not np.asarray(boxes(jax.random.key(0), jnp.ones(3), 8, 8)).any()


def test_off_changes_nothing_and_wrong_options_are_refused() -> None:
    for off in (None, {}, {"per_example": True}):
        images, kept = make_mix(off)(jax.random.key(0), IMAGES, ONES)
        assert images is IMAGES
        assert kept is None
        assert mix_targets(ONES[:, None], kept) is not None
    with pytest.raises(UserError, match="did you mean 'mixup_alpha'"):
        make_mix({"mixup": 0.2})
    with pytest.raises(UserError, match=r"task.mixing.mixup_alpha must be at least 0, got -1"):
        make_mix({"mixup_alpha": -1.0})
    with pytest.raises(UserError, match=r"task.mixing.cutmix_alpha"):
        make_mix({"cutmix_alpha": float("nan")})


def test_the_classification_trains_on_the_mixed_images_and_targets() -> None:
    class Identity(linen.Module):
        """The first pixels are the logits."""

        @linen.compact
        def __call__(self, images, *, train=False):
            self.param("scale", linen.initializers.ones, ())
            return images[:, 0, :BATCH, 0]

    labels = jnp.arange(BATCH, dtype=jnp.int32)
    batch = {"image": IMAGES, "label": labels, "weight": ONES}
    task = classification.make(
        Identity(),
        optax.sgd(0.0),
        label_smoothing=0.0,
        top_k=0,
        accumulate_steps=1,
        mixing={"mixup_alpha": 1.0},
    )
    key = jax.random.key(2)
    state = task.init(key, batch)
    _, metrics = task.step(state, batch, key)
    _, kept = make_mix({"mixup_alpha": 1.0})(key, IMAGES, ONES)
    # All logits of an image are equal, so whatever the targets the loss is log 8: they sum to 1.
    np.testing.assert_allclose(metrics["loss"].compute(), np.log(BATCH), rtol=1e-5)
    spread = IMAGES * jnp.linspace(0, 1, 10)[None, None, :, None]
    _, metrics = task.step(state, {**batch, "image": spread}, key)
    mixed, _ = make_mix({"mixup_alpha": 1.0})(key, spread, ONES)
    targets = mix_targets(jax.nn.one_hot(labels, BATCH), kept)
    want = -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(mixed[:, 0, :BATCH, 0]), -1))
    np.testing.assert_allclose(metrics["loss"].compute(), want, rtol=1e-5)
    evaluated = task.evaluate(state, {**batch, "image": spread})
    plain = -jnp.mean(jnp.diag(jax.nn.log_softmax(spread[:, 0, :BATCH, 0])))
    np.testing.assert_allclose(evaluated["loss"].compute(), plain, rtol=1e-5)
