"""Translation of images by pairs: what one becomes is known.

Isola et al. 2017, "Image-to-image translation with conditional adversarial networks".
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from cnn.core import (
    Batch,
    Gather,
    Key,
    LossFn,
    Mean,
    Metrics,
    ModelState,
    Params,
    Task,
    TrainState,
    descend,
)
from cnn.errors import UserError, check_not_negative
from cnn.generators import Networks
from cnn.tasks.classification import without_padding
from cnn.tasks.gan import LOSSES, State, apply, begun, forward, with_sum

Halves = tuple[Float[Array, "batch height width half"], Float[Array, "batch height width half"]]

_LOSS = LOSSES["non_saturating"]


def make(
    networks: Networks,
    tx: optax.GradientTransformation,
    gather: Gather | None = None,
    *,
    l1_weight: float = 100.0,
    accumulate_steps: int = 1,
) -> Task[State]:
    """Making of an image the one that belongs to it.

    The batch has `image` [batch, height, width, 2 * channels], with pixels from -1 to 1: first the
    channels of what is given, then of what it becomes, as the data source "pairs" has them; and
    where wanted `weight` [batch]. The discriminator sees both, the second real or made (section 3,
    equation 4), and its loss counts half. An update of the generator follows one of the
    discriminator, with the same dropout.

    `predict` gives `images` [batch, height, width, channels] of the given ones, `l1`, their mean
    distance from the true ones, and `shown` [batch, height, 3 * width, channels]: given, made and
    true side by side.

    Metrics are `generator_loss`, `discriminator_loss`, their sum `loss`, and `l1`, a mean over
    pixels of [0, 2].

    Args:
        networks: Of a generator of images and a discriminator of pairs.
        tx: The optimizer of each.
        gather: As in `descend`.
        l1_weight: What that distance counts in the generator's loss.
        accumulate_steps: Parts of the batch whose gradients are averaged one after another.

    Raises:
        UserError: If a value is out of its range.
    """
    check_not_negative("task", l1_weight=l1_weight)
    generator, discriminator = networks.generator, networks.discriminator
    assert discriminator is not None, "pix2pix has a discriminator"
    options = {"accumulate_steps": accumulate_steps, "gather": gather}
    whole = gather or (lambda params: params)

    def init(key: Key, batch: Batch) -> State:
        keys, image = jax.random.split(key), batch["image"][:1]
        given, true = halves(image)
        made, of_generator = generator.init_with_output({"params": keys[0]}, given)
        check_channels(made, true)
        of_critic = discriminator.init({"params": keys[1]}, image)
        return State(begun(of_generator, tx), begun(of_critic, tx))

    def critic_loss(made_by: TrainState) -> LossFn:
        def loss_fn(
            params: Params, model_state: ModelState, batch: Batch, key: Key
        ) -> tuple[Float[Array, ""], tuple[ModelState, Metrics]]:
            pairs, weight = without_padding(batch)
            given, _ = halves(pairs)
            made, _ = forward(generator, whole(made_by.params), made_by.model_state, given, key)
            real_scores, model_state = forward(discriminator, params, model_state, pairs)
            made_scores, model_state = forward(
                discriminator, params, model_state, beside(given, made)
            )
            loss = Mean.of(per_image(_LOSS.discriminator(real_scores, made_scores)) / 2, weight)
            return jnp.asarray(loss.compute()), (model_state, {"discriminator_loss": loss})

        return loss_fn

    def generator_loss(judge: TrainState) -> LossFn:
        def loss_fn(
            params: Params, model_state: ModelState, batch: Batch, key: Key
        ) -> tuple[Float[Array, ""], tuple[ModelState, Metrics]]:
            pairs, weight = without_padding(batch)
            given, true = halves(pairs)
            made, model_state = forward(generator, params, model_state, given, key)
            pair = beside(given, made)
            scores, _ = forward(discriminator, whole(judge.params), judge.model_state, pair)
            l1 = per_image(jnp.abs(made - true))
            loss = Mean.of(per_image(_LOSS.generator(scores)) + l1_weight * l1, weight)
            metrics = {"generator_loss": loss, "l1": Mean.of(l1, weight)}
            return jnp.asarray(loss.compute()), (model_state, metrics)

        return loss_fn

    def step(state: State, batch: Batch, key: Key) -> tuple[State, Metrics]:
        update = descend(critic_loss(state.generator), tx, **options)
        critic, ours = update(state.discriminator, batch, key)
        update = descend(generator_loss(critic), tx, **options)
        made, theirs = update(state.generator, batch, key)
        return State(made, critic), with_sum({**ours, **theirs})

    def evaluate(state: State, batch: Batch) -> Metrics:
        pairs, weight = without_padding(batch)
        given, true = halves(pairs)
        made = apply(generator, state.generator, given)
        real_scores = apply(discriminator, state.discriminator, pairs)
        made_scores = apply(discriminator, state.discriminator, beside(given, made))
        l1 = per_image(jnp.abs(made - true))
        losses = {
            "discriminator_loss": per_image(_LOSS.discriminator(real_scores, made_scores)) / 2,
            "generator_loss": per_image(_LOSS.generator(made_scores)) + l1_weight * l1,
            "l1": l1,
        }
        return with_sum({name: Mean.of(values, weight) for name, values in losses.items()})

    def predict(state: State, batch: Batch) -> Mapping[str, Array]:
        given, true = halves(without_padding(batch)[0])
        made = apply(generator, state.generator, given)
        shown = jnp.concatenate([given, made.astype(given.dtype), true], axis=2)
        return {"images": made, "shown": shown, "l1": per_image(jnp.abs(made - true))}

    return Task(init, step, evaluate, predict, part="generator")


def halves(pairs: Float[Array, "batch height width both"]) -> Halves:
    """What is given and what it becomes, which lie in the channels one behind the other.

    Raises:
        UserError: If the channels are of an odd number.
    """
    channels = pairs.shape[-1]
    if channels % 2:
        raise UserError(
            f"pairs of images have an even number of channels, got {channels}: set "
            "preprocess.channels=6, or 2 where both are gray"
        )
    return pairs[..., : channels // 2], pairs[..., channels // 2 :]


def beside(
    given: Float[Array, "batch height width half"], made: Float[Array, "batch height width half"]
) -> Float[Array, "batch height width both"]:
    """The inverse of `halves`."""
    return jnp.concatenate([given, made.astype(given.dtype)], axis=-1)


def per_image(values: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    """The mean over all that an image has."""
    return jnp.mean(values, axis=tuple(range(1, values.ndim)))


def check_channels(
    made: Float[Array, "1 height width made"], true: Float[Array, "1 height width true"]
) -> None:
    """Raises a UserError where a generator makes other channels than those of the data."""
    if made.shape[-1] != true.shape[-1]:
        raise UserError(
            f"the generator makes images of {made.shape[-1]} channels, and those of the data have "
            f"{true.shape[-1]}, half of preprocess.channels: set model.channels to that"
        )
