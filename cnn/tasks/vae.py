"""Variational autoencoders: latents that images can be made of again.

Kingma & Welling 2014, "Auto-encoding variational Bayes".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from cnn.core import (
    Batch,
    Gather,
    Key,
    Mean,
    Metrics,
    ModelState,
    Params,
    Task,
    TrainState,
    descend,
)
from cnn.errors import UserError, check_not_negative, unknown
from cnn.generators import Networks
from cnn.tasks.classification import without_padding
from cnn.tasks.gan import begun, check_size, draw_latents

Images = Float[Array, "batch height width channels"]
Latents = Float[Array, "batch latent_size"]


def make(
    networks: Networks,
    tx: optax.GradientTransformation,
    gather: Gather | None = None,
    *,
    likelihood: str = "bernoulli",
    noise_std: float = 0.1,
    divergence_weight: float = 1.0,
    accumulate_steps: int = 1,
) -> Task[TrainState]:
    """Making images like those of the data, by a bound on how probable these are.

    The batch has `image` [batch, height, width, channels], with pixels from -1 to 1, and where
    wanted `weight` [batch]; an example of weight 0 counts nowhere. Of an image, `reconstruction` is
    minus the logarithm of its probability given a latent that the encoder draws for it,
    `divergence` that of the encoder's distribution from the normal one, and `loss` their sum: the
    bound of equation 10 turned round, in nats an image. Evaluation and prediction draw by a fixed
    key.

    `predict` gives `images` [batch, height, width, channels], one for each example: of `latent`
    [batch, latent_size] where the batch has them, else of fixed ones; and where the batch has
    `image` also the three numbers of each.

    Args:
        networks: Of a generator with `logits`, and an encoder.
        tx: The optimizer.
        gather: As in `descend`.
        likelihood: Of a pixel scaled to [0, 1]: `bernoulli`, for images that are nearly black and
            white, or `gaussian` about the generator's.
        noise_std: Deviation of `gaussian`, of such pixels.
        divergence_weight: What the divergence counts in training (Higgins et al. 2017, "beta-VAE");
            the metric `loss` has it as 1.
        accumulate_steps: Parts of the batch whose gradients are averaged one after another.

    Raises:
        UserError: If a value is unknown or out of its range.
    """
    check_not_negative("task", divergence_weight=divergence_weight)
    losses_of = _make_likelihood(likelihood, noise_std)
    generator, encoder = networks.generator, networks.encoder
    assert encoder is not None, "an autoencoder has an encoder"

    def bound(params: Params, images: Images, key: Key) -> dict[str, Float[Array, " batch"]]:
        found: Any = encoder.apply({"params": params["encoder"]}, images)
        mean, log_variance = found
        drawn = jax.random.normal(key, mean.shape, mean.dtype)
        latents = mean + jnp.exp(log_variance / 2) * drawn
        logits: Any = generator.apply({"params": params["generator"]}, latents, method="logits")
        shares = (images.astype(logits.dtype) + 1) / 2
        reconstruction = jnp.sum(losses_of(logits, shares), axis=(1, 2, 3))
        divergence = divergence_from_normal(mean, log_variance)
        return {
            "loss": reconstruction + divergence,
            "reconstruction": reconstruction,
            "divergence": divergence,
        }

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: Key
    ) -> tuple[Float[Array, ""], tuple[ModelState, Metrics]]:
        images, weight = without_padding(batch)
        found = bound(params, images, key)
        metrics = {name: Mean.of(values, weight) for name, values in found.items()}
        total = found["reconstruction"] + divergence_weight * found["divergence"]
        return jnp.asarray(Mean.of(total, weight).compute()), (model_state, metrics)

    def init(key: Key, batch: Batch) -> TrainState:
        keys, image = jax.random.split(key), batch["image"][:1]
        made, of_generator = generator.init_with_output(
            {"params": keys[0]}, draw_latents(generator, key, 1)
        )
        check_size(image, made)
        of_encoder = encoder.init({"params": keys[1]}, image)
        params = {"generator": of_generator["params"], "encoder": of_encoder["params"]}
        return begun({"params": params}, tx)

    def predict(state: TrainState, batch: Batch) -> Mapping[str, Array]:
        latents = batch.get("latent")
        if latents is None:
            latents = draw_latents(generator, jax.random.key(0), len(batch["image"]))
        made: Any = generator.apply({"params": state.params["generator"]}, latents)
        if "image" not in batch:
            return {"images": made}
        images, _ = without_padding(batch)
        return {"images": made, **bound(state.params, images, jax.random.key(0))}

    def evaluate(state: TrainState, batch: Batch) -> Metrics:
        images, weight = without_padding(batch)
        found = bound(state.params, images, jax.random.key(0))
        return {name: Mean.of(values, weight) for name, values in found.items()}

    step = descend(loss_fn, tx, accumulate_steps=accumulate_steps, gather=gather)
    return Task(init, step, evaluate, predict)


def _make_likelihood(name: str, noise_std: float) -> Callable[[Images, Images], Images]:
    """(logits, pixels in [0, 1]) -> minus the logarithms of the pixels' probabilities."""
    if not noise_std > 0:
        raise UserError(f"task.noise_std must be above 0, got {noise_std}")

    def gaussian(logits: Images, shares: Images) -> Images:
        apart = (shares - jax.nn.sigmoid(logits)) / noise_std
        return (jnp.square(apart) + jnp.log(2 * jnp.pi * noise_std**2)) / 2

    known = {"bernoulli": optax.sigmoid_binary_cross_entropy, "gaussian": gaussian}
    if name not in known:
        raise unknown("value of task.likelihood", name, known)
    return known[name]


def divergence_from_normal(mean: Latents, log_variance: Latents) -> Float[Array, " batch"]:
    """Kullback and Leibler's, of independent normal distributions from standard ones, in nats.

    Kingma & Welling 2014, appendix B.
    """
    each = jnp.exp(log_variance) + jnp.square(mean) - 1 - log_variance
    return jnp.sum(each, axis=-1) / 2
