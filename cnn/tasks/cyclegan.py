"""Translation between two kinds of images without pairs.

Zhu et al. 2017, "Unpaired image-to-image translation using cycle-consistent adversarial networks".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen
from jaxtyping import Array, Float, Int

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
from cnn.errors import check_not_negative
from cnn.generators import Networks
from cnn.tasks import image_pool
from cnn.tasks.classification import without_padding
from cnn.tasks.gan import LOSSES, begun, with_sum
from cnn.tasks.pix2pix import check_channels, halves, per_image

Images = Float[Array, "batch height width channels"]
Pairs = Float[Array, "batch height width both"]

KINDS = ("a", "b")
"""The kinds of images, in the order of their channels."""

_LOSS = LOSSES["least_squares"]


class State(NamedTuple):
    """Both generators, both discriminators, and the images that these see again.

    Attributes:
        generator: Parameters `a_to_b` and `b_to_a`.
        discriminator: Parameters `a` and `b`, of images of that kind.
        pools: By the same names.
    """

    generator: TrainState
    discriminator: TrainState
    pools: Mapping[str, image_pool.Pool]

    @property
    def step(self) -> Int[Array, ""]:
        """Updates of the generators, each followed by one of the discriminators."""
        return self.generator.step


def make(
    networks: Networks,
    tx: optax.GradientTransformation,
    gather: Gather | None = None,
    *,
    cycle_weight: float = 10.0,
    identity_weight: float = 0.5,
    pool_size: int = 50,
    accumulate_steps: int = 1,
) -> Task[State]:
    """Making images of one kind into such of another, and back.

    The batch has `image` [batch, height, width, 2 * channels], with pixels from -1 to 1: first the
    channels of an image of kind a, then of one of kind b that has nothing to do with it; and where
    wanted `weight` [batch]. Losses are the paper's (section 3 and 4): least squares for either
    discriminator, which counts half and sees images of its pool, and the distance of an image that
    went there and back. The networks have no state of their own, so an example is by itself.

    Under `pmap` every replica has the pools of all (`image_pool.exchange`).

    `predict` gives `images`, made of those of kind a, `images_a`, made of those of kind b, and
    `cycle` [batch], the mean of both distances; and `shown` [batch, height, 4 * width, channels]: a
    and what is made of it, b and what is made of it.

    Metrics are `generator_loss`, `discriminator_loss`, their sum `loss`, and `cycle`. Of
    evaluations, the discriminators see what is made now.

    Args:
        networks: Of a generator and a discriminator, each of which is there twice.
        tx: The optimizer of the generators, and of the discriminators.
        gather: As in `descend`.
        cycle_weight: What the distance of an image from itself, there and back, counts.
        identity_weight: What the distance of an image of b from what `a_to_b` makes of it counts,
            and the same of a, as a share of `cycle_weight` (section 5.2); 0 is none.
        pool_size: Images that are kept of either kind; 0 keeps none.
        accumulate_steps: Parts of the batch whose gradients are averaged one after another.

    Raises:
        UserError: If a value is out of its range.
    """
    weights = {"cycle_weight": cycle_weight, "identity_weight": identity_weight}
    check_not_negative("task", **weights, pool_size=pool_size)
    generator, discriminator = networks.generator, networks.discriminator
    assert discriminator is not None, "CycleGAN has discriminators"
    game = _Game(generator, discriminator, cycle_weight, identity_weight)
    options = {"accumulate_steps": accumulate_steps, "gather": gather}
    whole = gather or (lambda params: params)

    def init(key: Key, batch: Batch) -> State:
        keys, (a, b) = jax.random.split(key, 4), halves(batch["image"][:1])
        made, first = generator.init_with_output({"params": keys[0]}, a)
        check_channels(made, b)
        second = generator.init({"params": keys[1]}, b)
        judges = [discriminator.init({"params": k}, a)["params"] for k in keys[2:]]
        generators = {"a_to_b": first["params"], "b_to_a": second["params"]}
        return State(
            begun({"params": generators}, tx),
            begun({"params": dict(zip(KINDS, judges, strict=True))}, tx),
            {"a": image_pool.empty(pool_size, a[0]), "b": image_pool.empty(pool_size, b[0])},
        )

    def step(state: State, batch: Batch, key: Key) -> tuple[State, Metrics]:
        # By the parameters before the update, as that of the generators makes them.
        made = game.made(whole(state.generator.params), without_padding(batch)[0])
        pools, seen = {}, {}
        for kind, kind_key in zip(KINDS, jax.random.split(key), strict=True):
            pools[kind], seen[kind] = image_pool.exchange(
                state.pools[kind], made[kind], kind_key, networks.axis_name
            )
        update = descend(_generator_loss(game, whole(state.discriminator.params)), tx, **options)
        generators, theirs = update(state.generator, batch, key)
        update = descend(_critic_loss(game), tx, **options)
        critics, ours = update(state.discriminator, {**batch, **seen}, key)
        return State(generators, critics, pools), with_sum({**ours, **theirs})

    def evaluate(state: State, batch: Batch) -> Metrics:
        pairs, weight = without_padding(batch)
        turned, judge = game.turned(state.generator.params, pairs), state.discriminator.params
        values = {
            "generator_loss": game.generator_losses(turned, judge, pairs),
            "discriminator_loss": game.critic_losses(judge, pairs, turned.made),
            "cycle": cycle_of(turned, pairs) / 2,
        }
        return with_sum({name: Mean.of(x, weight) for name, x in values.items()})

    def predict(state: State, batch: Batch) -> Mapping[str, Array]:
        pairs, _ = without_padding(batch)
        turned, (a, b) = game.turned(state.generator.params, pairs), halves(pairs)
        return {
            "images": turned.made["b"],
            "images_a": turned.made["a"],
            "shown": jnp.concatenate([a, turned.made["b"], b, turned.made["a"]], axis=2),
            "cycle": cycle_of(turned, pairs) / 2,
        }

    return Task(init, step, evaluate, predict, part="generator")


class Turned(NamedTuple):
    """What the generators make of both kinds.

    Attributes:
        made: Images of kind `a`, of those of b, and the other way.
        again: What those become: images of kind `a` that went there and back, and of `b`.
    """

    made: Mapping[str, Images]
    again: Mapping[str, Images]


def cycle_of(turned: Turned, pairs: Pairs) -> Float[Array, " batch"]:
    """The distances of images from themselves, there and back, of both kinds."""
    return sum(
        (
            per_image(jnp.abs(turned.again[kind] - images))
            for kind, images in zip(KINDS, halves(pairs), strict=True)
        ),
        jnp.zeros(()),
    )


class _Game(NamedTuple):
    """The networks and the weights of losses."""

    generator: linen.Module
    discriminator: linen.Module
    cycle_weight: float
    identity_weight: float

    def make_of(self, params: Params, way: str, images: Images) -> Images:
        made: Any = self.generator.apply({"params": params[way]}, images, train=True)
        return made.astype(images.dtype)

    def made(self, params: Params, pairs: Pairs) -> dict[str, Images]:
        a, b = halves(pairs)
        return {"a": self.make_of(params, "b_to_a", b), "b": self.make_of(params, "a_to_b", a)}

    def turned(self, params: Params, pairs: Pairs) -> Turned:
        made = self.made(params, pairs)
        back = {
            "a": self.make_of(params, "b_to_a", made["b"]),
            "b": self.make_of(params, "a_to_b", made["a"]),
        }
        return Turned(made, back)

    def scores(
        self, params: Params, kind: str, images: Images
    ) -> Float[Array, "batch rows columns"]:
        scores: Any = self.discriminator.apply({"params": params[kind]}, images, train=True)
        return scores

    def generator_losses(
        self, turned: Turned, judge: Params, pairs: Pairs
    ) -> Float[Array, " batch"]:
        losses = self.cycle_weight * cycle_of(turned, pairs)
        for kind, images in turned.made.items():
            losses += per_image(_LOSS.generator(self.scores(judge, kind, images)))
        return losses

    def identity_losses(self, params: Params, pairs: Pairs) -> Float[Array, " batch"]:
        a, b = halves(pairs)
        same_a = jnp.abs(self.make_of(params, "b_to_a", a) - a)
        same_b = jnp.abs(self.make_of(params, "a_to_b", b) - b)
        weight = self.identity_weight * self.cycle_weight
        return weight * (per_image(same_a) + per_image(same_b))

    def critic_losses(
        self, params: Params, pairs: Pairs, made: Mapping[str, Images]
    ) -> Float[Array, " batch"]:
        losses = jnp.zeros(len(pairs))
        for kind, images in zip(KINDS, halves(pairs), strict=True):
            of_real, of_made = (self.scores(params, kind, x) for x in (images, made[kind]))
            losses += per_image(_LOSS.discriminator(of_real, of_made))
        return losses


def _generator_loss(game: _Game, judge: Params) -> LossFn:
    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: Key
    ) -> tuple[Float[Array, ""], tuple[ModelState, Metrics]]:
        del key
        pairs, weight = without_padding(batch)
        turned = game.turned(params, pairs)
        losses = game.generator_losses(turned, judge, pairs)
        if game.identity_weight:
            losses += game.identity_losses(params, pairs)
        loss = Mean.of(losses, weight)
        cycle = Mean.of(cycle_of(turned, pairs) / 2, weight)
        return jnp.asarray(loss.compute()), (
            model_state,
            {"generator_loss": loss, "cycle": cycle},
        )

    return loss_fn


def _critic_loss(game: _Game) -> LossFn:
    """Of a batch with what the discriminators see of either kind."""

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: Key
    ) -> tuple[Float[Array, ""], tuple[ModelState, Metrics]]:
        del key
        pairs, weight = without_padding(batch)
        losses = game.critic_losses(params, pairs, {kind: batch[kind] for kind in KINDS})
        loss = Mean.of(losses, weight)
        return jnp.asarray(loss.compute()), (model_state, {"discriminator_loss": loss})

    return loss_fn
