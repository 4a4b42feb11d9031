"""Training of StyleGAN2: the GAN's losses, mixed styles, and two penalties now and then.

Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN".
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
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
    descend,
)
from cnn.errors import UserError, check_not_negative
from cnn.generators import Networks
from cnn.tasks import penalties
from cnn.tasks.classification import without_padding
from cnn.tasks.gan import LOSSES, State, apply, begun, check_size, draw_latents, with_sum

Images = Float[Array, "batch height width channels"]
Styles = Float[Array, "batch layers latent_size"]

COARSE_LAYERS = 4
"""Layers of up to 8 pixels, whose style is pose and shape: Karras et al. 2019, section 3.1."""

_LOSS = LOSSES["non_saturating"]
_PATH = "path"
_PATH_DECAY = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How the two are trained: the section `task` of a config.

    Attributes:
        r1_weight: Of half the squared gradients of real images' scores; 0 is none.
        r1_every_steps: Steps from one such penalty to the next, which counts so many times.
        path_weight: Of the squared distance of path lengths from their moving average; 0 is none.
        path_every_steps: As `r1_every_steps`.
        path_shrink: One of so many images has a path length measured.
        mixing_rate: Share of images whose layers from a drawn one on have another style (Karras et
            al. 2019, section 3.1).
        discriminator_rate: The discriminator's learning rate as a multiple of the generator's.
        accumulate_steps: Parts of the batch whose gradients are averaged one after another.

    Raises:
        UserError: If a value is out of its range.
    """

    r1_weight: float = 10.0
    r1_every_steps: int = 16
    path_weight: float = 2.0
    path_every_steps: int = 4
    path_shrink: int = 2
    mixing_rate: float = 0.9
    discriminator_rate: float = 1.0
    accumulate_steps: int = 1

    def __post_init__(self) -> None:
        check_not_negative("task", r1_weight=self.r1_weight, path_weight=self.path_weight)
        for name in ("r1_every_steps", "path_every_steps", "path_shrink"):
            if getattr(self, name) < 1:
                raise UserError(f"task.{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.mixing_rate <= 1:
            raise UserError(f"task.mixing_rate must be in [0, 1], got {self.mixing_rate}")
        if not self.discriminator_rate > 0:
            raise UserError(
                f"task.discriminator_rate must be above 0, got {self.discriminator_rate}"
            )


def make(
    networks: Networks,
    tx: optax.GradientTransformation,
    gather: Gather | None = None,
    **options: Any,
) -> Task[State]:
    """Making images like those of the data, by styles.

    Batches, `predict` and metrics are those of `cnn.tasks.gan`, whose non-saturating loss this is.
    `predict` also takes `fine` [batch, latent_size]: latents whose styles the layers from
    `COARSE_LAYERS` on have. `r1` and `path_length` are means over all steps, of penalties that are
    0 but for every so many of them. Differs from the authors' code: a penalty is added to the loss
    of its step instead of having an update of its own. Under `pmap` the average path length is that
    of all replicas.

    Args:
        networks: Of a generator with `styles` and `images`, and a discriminator.
        tx: The optimizer of each.
        gather: As in `descend`.
        **options: The fields of `Options`.

    Raises:
        UserError: As `Options`.
    """
    chosen = Options(**options)
    game = _Game(networks.generator, networks.discriminator, chosen, networks.axis_name)
    critic_tx = optax.chain(tx, optax.scale(chosen.discriminator_rate))
    whole = gather or (lambda params: params)
    parts = {"accumulate_steps": chosen.accumulate_steps, "gather": gather}

    def init(key: Key, batch: Batch) -> State:
        keys, image = jax.random.split(key), batch["image"][:1]
        made, of_generator = game.generator.init_with_output(
            {"params": keys[0]}, draw_latents(game.generator, key, 1)
        )
        check_size(image, made)
        of_critic = game.discriminator.init({"params": keys[1]}, image)
        average = {_PATH: {"average": jnp.zeros(())}}
        return State(begun({**of_generator, **average}, tx), begun(of_critic, critic_tx))

    def step(state: State, batch: Batch, key: Key) -> tuple[State, Metrics]:
        update = descend(
            _critic_loss(game, whole(state.generator.params), state.step), critic_tx, **parts
        )
        critic, ours = update(state.discriminator, batch, key)
        update = descend(_generator_loss(game, whole(critic.params), state.step), tx, **parts)
        generator, theirs = update(state.generator, batch, key)
        return State(generator, critic), with_sum({**ours, **theirs})

    def outputs(state: State, batch: Batch) -> dict[str, Array]:
        latents = batch.get("latent")
        if latents is None:
            latents = draw_latents(game.generator, jax.random.key(0), len(batch["image"]))
        variables = {"params": state.generator.params}
        styles = game.styles(variables, latents)
        if "fine" in batch:
            coarse = jnp.arange(styles.shape[1]).reshape(1, -1, 1) < COARSE_LAYERS
            styles = jnp.where(coarse, styles, game.styles(variables, batch["fine"]))
        found = {"images": game.images(variables, styles, None)}
        if "image" in batch:
            real, _ = without_padding(batch)
            made = found["images"].astype(real.dtype)
            found["real_score"] = apply(game.discriminator, state.discriminator, real)
            found["made_score"] = apply(game.discriminator, state.discriminator, made)
        return found

    def evaluate(state: State, batch: Batch) -> Metrics:
        found = outputs(state, batch)
        real, made = found["real_score"], found["made_score"]
        values = {
            "real_score": real,
            "made_score": made,
            "discriminator_loss": _LOSS.discriminator(real, made),
            "generator_loss": _LOSS.generator(made),
        }
        return with_sum({name: Mean.of(x, batch["weight"]) for name, x in values.items()})

    return Task(init, step, evaluate, outputs, part="generator")


class _Game(NamedTuple):
    """The networks, and what both losses know."""

    generator: Any
    discriminator: Any
    chosen: Options
    axis_name: str | None = None

    def styles(self, variables: Any, latents: Float[Array, "batch latent_size"]) -> Styles:
        return self.generator.apply(variables, latents, method="styles")

    def images(self, variables: Any, styles: Styles, key: Key | None) -> Images:
        rngs = None if key is None else {"noise": key}
        return self.generator.apply(variables, styles, method="images", rngs=rngs)

    def mixed(self, variables: Any, count: int, key: Key) -> Styles:
        """Styles of drawn latents, some of them of two."""
        keys = jax.random.split(key, 4)
        first, second = (
            self.styles(variables, draw_latents(self.generator, k, count)) for k in keys[:2]
        )
        layers = first.shape[1]
        mixes = jax.random.bernoulli(keys[2], self.chosen.mixing_rate, (count,))
        crossing = jax.random.randint(keys[3], (count,), 1, layers)
        return mix(first, second, jnp.where(mixes, crossing, layers))

    def scores(self, params: Params, images: Images) -> Float[Array, " batch"]:
        return self.discriminator.apply({"params": params}, images)


def mix(first: Styles, second: Styles, crossing: Int[Array, " batch"]) -> Styles:
    """The first styles in the layers before the crossing, the second from it on."""
    before = jnp.arange(first.shape[1]).reshape(1, -1) < crossing.reshape(-1, 1)
    return jnp.where(before[:, :, None], first, second)


def _critic_loss(game: _Game, made_by: Params, step: Int[Array, ""]) -> LossFn:
    chosen = game.chosen

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: Key
    ) -> tuple[Float[Array, ""], tuple[ModelState, Metrics]]:
        real, weight = without_padding(batch)
        keys, variables = jax.random.split(key), {"params": made_by}
        styles = game.mixed(variables, len(real), keys[0])
        made = game.images(variables, styles, keys[1]).astype(real.dtype)
        real_scores, made_scores = (game.scores(params, x) for x in (real, made))
        loss = Mean.of(_LOSS.discriminator(real_scores, made_scores), weight)
        metrics = {
            "discriminator_loss": loss,
            "real_score": Mean.of(real_scores, weight),
            "made_score": Mean.of(made_scores, weight),
        }
        total = jnp.asarray(loss.compute())
        if chosen.r1_weight:
            every = chosen.r1_every_steps
            found = jax.lax.cond(
                step % every == 0,
                lambda: penalties.squared_gradients(lambda x: game.scores(params, x), real) / 2,
                lambda: jnp.zeros(len(real), real.dtype),
            )
            metrics["r1"] = Mean.of(found, weight)
            total += chosen.r1_weight * every * metrics["r1"].compute()
        return total, (model_state, metrics)

    return loss_fn


def _generator_loss(game: _Game, judge: Params, step: Int[Array, ""]) -> LossFn:
    chosen = game.chosen

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: Key
    ) -> tuple[Float[Array, ""], tuple[ModelState, Metrics]]:
        images, weight = without_padding(batch)
        keys, variables = jax.random.split(key), {"params": params}
        styles = game.mixed(variables, len(images), keys[0])
        made = game.images(variables, styles, keys[1]).astype(images.dtype)
        loss = Mean.of(_LOSS.generator(game.scores(judge, made)), weight)
        metrics, total = {"generator_loss": loss}, jnp.asarray(loss.compute())
        if chosen.path_weight:
            average = model_state[_PATH]["average"]
            count, every = -(-len(images) // chosen.path_shrink), chosen.path_every_steps
            path_key = jax.random.fold_in(key, 1)
            lengths, average = jax.lax.cond(
                step % every == 0,
                lambda: _path(game, variables, path_key, count, average),
                lambda: (jnp.zeros(count), average),
            )
            penalty = jnp.mean(jnp.where(lengths > 0, jnp.square(lengths - average), 0.0))
            total += chosen.path_weight * every * penalty
            metrics["path_length"] = Mean.of(lengths, jnp.ones(count))
            model_state = {**model_state, _PATH: {"average": jax.lax.stop_gradient(average)}}
        return total, (model_state, metrics)

    return loss_fn


def _path(
    game: _Game, variables: Any, key: Key, count: int, average: Float[Array, ""]
) -> tuple[Float[Array, " count"], Float[Array, ""]]:
    """Path lengths of so many drawn images, and the moving average with those of all replicas."""
    keys = jax.random.split(key, 3)
    styles = game.mixed(variables, count, keys[0])
    size, channels = game.generator.image_size, game.generator.channels
    noise = jax.random.normal(keys[1], (count, size, size, channels))
    lengths = penalties.path_lengths(
        lambda styles: game.images(variables, styles, keys[2]), styles, noise
    )
    mean = jnp.mean(lengths)
    if game.axis_name is not None:
        mean = jax.lax.pmean(mean, game.axis_name)
    return lengths, average + _PATH_DECAY * (mean - average)
