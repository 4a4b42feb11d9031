"""Generative adversarial networks: a generator, and a discriminator that tells its images apart.

Goodfellow et al. 2014, "Generative adversarial nets".
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
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
    merge,
)
from cnn.errors import UserError, check_not_negative, unknown
from cnn.generators import Networks
from cnn.tasks import penalties
from cnn.tasks.classification import without_padding

Images = Float[Array, "batch height width channels"]
Scores = Float[Array, " batch"]


class Loss(NamedTuple):
    """What each side makes small, of each example.

    Attributes:
        discriminator: (scores of real images, scores of made ones) -> losses.
        generator: Scores of made images -> losses.
    """

    discriminator: Callable[[Scores, Scores], Scores]
    generator: Callable[[Scores], Scores]


LOSSES = {
    "non_saturating": Loss(
        lambda real, made: jax.nn.softplus(-real) + jax.nn.softplus(made),
        lambda made: jax.nn.softplus(-made),
    ),
    "wasserstein": Loss(lambda real, made: made - real, lambda made: -made),
    "hinge": Loss(
        lambda real, made: jax.nn.relu(1 - real) + jax.nn.relu(1 + made), lambda made: -made
    ),
    "least_squares": Loss(
        lambda real, made: (jnp.square(real - 1) + jnp.square(made)) / 2,
        lambda made: jnp.square(made - 1),
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How the two are trained: the section `task` of a config.

    Attributes:
        loss: `non_saturating` (Goodfellow et al. 2014, section 3), `wasserstein` (Arjovsky et al.
            2017; with `gradient_penalty`), `hinge` (Lim & Ye 2017; Miyato et al. 2018) or
            `least_squares` (Mao et al. 2017).
        gradient_penalty: Weight of `cnn.tasks.penalties.gradient_penalty` in the discriminator's
            loss, 10 in its paper; 0 is none. The discriminator may not have batch norm then.
        critic_steps: Updates of the discriminator before each of the generator, 5 for WGAN-GP. The
            batch is cut into as many parts, one for each; the generator's update makes as many
            images as a part has.
        discriminator_rate: The discriminator's learning rate as a multiple of the generator's
            (Heusel et al. 2017, "GANs trained by a two time-scale update rule").
        accumulate_steps: Parts of each update's batch whose gradients are averaged.

    Raises:
        UserError: If a value is unknown or out of its range.
    """

    loss: str = "non_saturating"
    gradient_penalty: float = 0.0
    critic_steps: int = 1
    discriminator_rate: float = 1.0
    accumulate_steps: int = 1

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise unknown("value of task.loss", self.loss, LOSSES)
        check_not_negative("task", gradient_penalty=self.gradient_penalty)
        if self.critic_steps < 1:
            raise UserError(f"task.critic_steps must be at least 1, got {self.critic_steps}")
        if not self.discriminator_rate > 0:
            raise UserError(
                f"task.discriminator_rate must be above 0, got {self.discriminator_rate}"
            )


class State(NamedTuple):
    """Both networks; a step is an update of the generator and those of the discriminator before."""

    generator: TrainState
    discriminator: TrainState

    @property
    def step(self) -> Int[Array, ""]:
        """Updates of the generator."""
        return self.generator.step


def make(
    networks: Networks,
    tx: optax.GradientTransformation,
    gather: Gather | None = None,
    **options: Any,
) -> Task[State]:
    """Making images like those of the data.

    The batch has `image` [batch, height, width, channels], with pixels from -1 to 1, and where
    wanted `weight` [batch]: of an example of weight 0 neither the image nor what is made beside it
    counts, though batch norm sees both. An update of the discriminator sees real and made images as
    two batches; that of the generator has the latents of the discriminator's last. Latents are
    drawn by the key, so on a mesh they are those of one device, and under `pmap` each replica draws
    its own. Evaluation and prediction have latents of a fixed key, in every replica the same.

    Of networks with classes the batch also has `label` [batch], by which the discriminator sees a
    real image; a made one has the class of its latent.

    `predict` gives `images` [batch, height, width, channels], one for each example: of `latent`
    [batch, latent_size] where the batch has them, else of the fixed ones; and where the batch has
    `image` the scores of both, `real_score` and `made_score` [batch].

    Metrics are `generator_loss`, `discriminator_loss` with its penalty, their sum `loss`, and the
    means of the scores.

    Args:
        networks: Of a generator and a discriminator.
        tx: The optimizer of each.
        gather: As in `descend`.
        **options: The fields of `Options`.

    Raises:
        UserError: As `Options`.
    """
    chosen = Options(**options)
    assert networks.discriminator is not None, "a GAN has a discriminator"
    game = _Game(networks.generator, networks.discriminator, chosen, gather or (lambda x: x))
    critic_tx = optax.chain(tx, optax.scale(chosen.discriminator_rate))
    parts = {"accumulate_steps": chosen.accumulate_steps, "gather": gather}

    def init(key: Key, batch: Batch) -> State:
        keys, image = jax.random.split(key), batch["image"][:1]
        made, of_generator = game.generator.init_with_output(
            {"params": keys[0]}, draw_latents(game.generator, key, 1), train=False
        )
        check_size(image, made)
        judged = {name: label[:1] for name, label in game.labels(batch).items()}
        of_critic = game.discriminator.init({"params": keys[1]}, image, **judged, train=False)
        if chosen.gradient_penalty and "batch_stats" in of_critic:
            raise UserError(
                "task.gradient_penalty looks at one image by itself, and the discriminator has "
                "batch norm; set model.discriminator_norm='none', or model.name='wgan_gp'"
            )
        return State(begun(of_generator, tx), begun(of_critic, critic_tx))

    def step(state: State, batch: Batch, key: Key) -> tuple[State, Metrics]:
        critic, metrics, part, part_key = state.discriminator, None, batch, key
        # No loop of the program's, in which convolutions have no threads on a CPU.
        for index, part in enumerate(cut(batch, chosen)):
            part_key = jax.random.fold_in(key, index)
            update = descend(_critic_loss(game, state.generator), critic_tx, **parts)
            critic, found = update(critic, part, part_key)
            metrics = found if metrics is None else merge(metrics, found)
        update = descend(_generator_loss(game, critic), tx, **parts)
        generator, found = update(state.generator, part, part_key)
        return State(generator, critic), with_sum({**(metrics or {}), **found}, chosen.critic_steps)

    def outputs(state: State, batch: Batch) -> dict[str, Array]:
        latents = batch.get("latent")
        if latents is None:
            latents = draw_latents(game.generator, jax.random.key(0), len(batch["image"]))
        found = {"images": apply(game.generator, state.generator, latents)}
        if "image" in batch:
            real, _ = without_padding(batch)
            made = found["images"].astype(real.dtype)
            judge = functools.partial(apply, game.discriminator, state.discriminator)
            found["real_score"] = judge(real, **game.labels(batch))
            found["made_score"] = judge(made, **game.labels_of(latents))
        return found

    def evaluate(state: State, batch: Batch) -> Metrics:
        found, loss_of = outputs(state, batch), LOSSES[chosen.loss]
        real, made = found["real_score"], found["made_score"]
        values = {
            "real_score": real,
            "made_score": made,
            "discriminator_loss": loss_of.discriminator(real, made),
            "generator_loss": loss_of.generator(made),
        }
        return with_sum({name: Mean.of(x, batch["weight"]) for name, x in values.items()})

    return Task(init, step, evaluate, outputs, part="generator")


class _Game(NamedTuple):
    """The networks, and what both losses know."""

    generator: Any
    discriminator: linen.Module
    chosen: Options
    whole: Gather

    @property
    def has_classes(self) -> bool:
        return bool(getattr(self.generator, "num_classes", 0))

    def labels(self, batch: Batch) -> dict[str, Any]:
        """What the discriminator is told of real images beside them."""
        if not self.has_classes:
            return {}
        labels = batch.get("label")
        if labels is None or not jnp.issubdtype(labels.dtype, jnp.integer):
            raise UserError(
                "these images have not one class each; set model.conditional=False, or take data "
                "that have"
            )
        return {"labels": labels}

    def labels_of(self, latents: Float[Array, "batch latent_size"]) -> dict[str, Any]:
        """And of those that are made of these latents."""
        return {"labels": self.generator.labels(latents)} if self.has_classes else {}


def _critic_loss(game: _Game, made_by: TrainState) -> LossFn:
    chosen = game.chosen

    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: Key
    ) -> tuple[Float[Array, ""], tuple[ModelState, Metrics]]:
        real, weight = without_padding(batch)
        latents = draw_latents(game.generator, key, len(real))
        of_generator = game.whole(made_by.params)
        made, _ = forward(game.generator, of_generator, made_by.model_state, latents)
        made = made.astype(real.dtype)
        of_real, of_made = game.labels(batch), game.labels_of(latents)
        judge = functools.partial(forward, game.discriminator, params)
        real_scores, model_state = judge(model_state, real, **of_real)
        made_scores, model_state = judge(model_state, made, **of_made)
        losses = LOSSES[chosen.loss].discriminator(real_scores, made_scores)
        metrics = {
            "real_score": Mean.of(real_scores, weight),
            "made_score": Mean.of(made_scores, weight),
        }
        if chosen.gradient_penalty:
            shares = jax.random.uniform(jax.random.fold_in(key, 1), (len(real),), real.dtype)
            found = penalties.gradient_penalty(
                lambda images: judge(model_state, images, **of_real)[0],
                penalties.between(real, made, shares),
            )
            metrics["gradient_penalty"] = Mean.of(found, weight)
            losses += chosen.gradient_penalty * found
        loss = Mean.of(losses, weight)
        metrics["discriminator_loss"] = loss
        return jnp.asarray(loss.compute()), (model_state, metrics)

    return loss_fn


def _generator_loss(game: _Game, judge: TrainState) -> LossFn:
    def loss_fn(
        params: Params, model_state: ModelState, batch: Batch, key: Key
    ) -> tuple[Float[Array, ""], tuple[ModelState, Metrics]]:
        images, weight = without_padding(batch)
        latents = draw_latents(game.generator, key, len(images))
        made, model_state = forward(game.generator, params, model_state, latents)
        made = made.astype(images.dtype)
        of_judge = game.whole(judge.params)
        told = game.labels_of(latents)
        scores, _ = forward(game.discriminator, of_judge, judge.model_state, made, **told)
        loss = Mean.of(LOSSES[game.chosen.loss].generator(scores), weight)
        return jnp.asarray(loss.compute()), (model_state, {"generator_loss": loss})

    return loss_fn


def draw_latents(generator: Any, key: Key, count: int) -> Float[Array, "count latent_size"]:
    """So many latents, of a normal distribution."""
    return jax.random.normal(key, (count, generator.latent_size))


def check_size(
    images: Images, made: Float[Array, "_ made_height made_width made_channels"]
) -> None:
    """Raises a UserError where a generator makes images of another shape than the data's."""
    wanted, got = images.shape[1:], made.shape[1:]
    if wanted != got:
        raise UserError(
            f"the generator makes images of {got[0]}x{got[1]}x{got[2]}, and those of the data are "
            f"{wanted[0]}x{wanted[1]}x{wanted[2]}: set model.image_size and model.channels to "
            "preprocess.image_size and preprocess.channels"
        )


def begun(variables: Mapping[str, Any], tx: optax.GradientTransformation) -> TrainState:
    """The state of a network before its first step."""
    model_state = {name: value for name, value in variables.items() if name != "params"}
    params = variables["params"]
    return TrainState(jnp.zeros((), jnp.int32), params, model_state, tx.init(params))


def forward(
    model: linen.Module,
    params: Params,
    model_state: ModelState,
    x: Any,
    key: Key | None = None,
    **given: Any,
) -> tuple[Any, ModelState]:
    """In training: what the network makes of `x`, and the model state after it.

    `key` draws the dropout, where there is any; `given` is what the network takes beside `x`.
    """
    variables = {"params": params, **model_state}
    rngs = None if key is None else {"dropout": key}
    y, moved = model.apply(variables, x, **given, train=True, mutable=[*model_state], rngs=rngs)
    return y, dict(moved)


def apply(model: linen.Module, state: TrainState, x: Any, **given: Any) -> Any:
    """Outside of training: what the network makes of `x`; `given` as in `forward`."""
    return model.apply({"params": state.params, **state.model_state}, x, **given, train=False)


def cut(batch: Batch, chosen: Options) -> list[dict[str, Any]]:
    """The equal parts of a batch, one for each update of the discriminator.

    Raises:
        UserError: If it cannot be cut so, or these parts not into those of an update.
    """
    size, count = len(batch["image"]), chosen.critic_steps
    if size % (count * chosen.accumulate_steps):
        raise UserError(
            f"task.critic_steps={count} times task.accumulate_steps={chosen.accumulate_steps} cut "
            f"a batch into as many parts, and one of {size} cannot be (loader.batch_size)"
        )
    # Part i is every n-th example, so a batch that is sharded over devices stays where it is.
    return [{name: x[index::count] for name, x in batch.items()} for index in range(count)]


def with_sum(metrics: Metrics, critic_steps: int = 1) -> Metrics:
    """The metrics, and `loss`: the sum of the means of both losses."""
    ours, theirs = metrics["discriminator_loss"], metrics["generator_loss"]
    # As one mean of so many times the generator's examples, to be added over batches and devices.
    return {**metrics, "loss": Mean(ours.total + critic_steps * theirs.total, ours.weight)}
