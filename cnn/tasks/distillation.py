"""Distillation: a network that is trained learns from what another says of the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from cnn.core import TEACHER, ModelState
from cnn.errors import UserError, unknown

DEFAULTS = {"kind": "none", "weight": 0.5, "temperature": 1.0}

Logits = Float[Array, "batch classes"]


class Teaching(NamedTuple):
    """How a network is taught.

    Attributes:
        teacher: Images to logits.
        losses: (logits of the student, of the teacher) -> the loss of each example.
        weight: What that loss counts; the rest is the label's.
    """

    teacher: nn.Module
    losses: Callable[[Logits, Logits], Float[Array, " batch"]]
    weight: float

    def blank(self, images: Any) -> ModelState:
        """Zeros in the shapes of the teacher's variables, until weights take their place."""
        key = jax.random.key(0)
        shapes = jax.eval_shape(lambda: self.teacher.init(key, images, train=False))
        return {TEACHER: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)}

    def logits(self, model_state: ModelState, images: Any) -> Logits:
        """What the teacher says of the images, as in an evaluation."""
        logits: Any = self.teacher.apply(model_state[TEACHER], images, train=False)
        return jax.lax.stop_gradient(logits)

    def total(
        self,
        sown: Mapping[str, Any],
        logits: Logits,
        said: Logits,
        label_losses: Callable[[Logits], Float[Array, " batch"]],
    ) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
        """The loss of each example, and the teacher's part in it, not yet weighted.

        Args:
            sown: By the student: with a distillation token, the logits of either token.
            logits: Of the student: what learns from both where there is no such token.
            said: Of the teacher.
            label_losses: Logits -> losses by the labels.
        """
        (by_label,), (by_teacher,) = (
            sown.get(name, (logits,)) for name in ("class", "distillation")
        )
        taught = self.losses(by_teacher, said)
        return (1 - self.weight) * label_losses(by_label) + self.weight * taught, taught


def make_teaching(teacher: nn.Module | None, options: Mapping[str, Any] | None) -> Teaching | None:
    """How a network is taught; None where there is no teacher.

    Args:
        teacher: Images to logits.
        options: Any of these; None is no distillation. `kind`: `none`; `hard`: cross-entropy with
            the class that the teacher finds likeliest (Touvron et al. 2021, "Training
            data-efficient image transformers", equation 3); `soft`: the divergence from the
            teacher's probabilities at a temperature, times its square (Hinton et al. 2015,
            "Distilling the knowledge in a neural network", section 2). `weight`: what that counts,
            in [0, 1]; the loss by the labels counts the rest. `temperature`: of `soft`, above 0; 1
            in DeiT's code, 3 in its table.

    Raises:
        UserError: If an option is unknown or out of its range, or a teacher is missing or idle.
    """
    values = {**DEFAULTS, **(options or {})}
    for name in values:
        if name not in DEFAULTS:
            raise unknown("key of task.distillation", name, DEFAULTS)
    kind, weight, temperature = values["kind"], values["weight"], values["temperature"]
    if kind not in ("none", "hard", "soft"):
        raise unknown("value of task.distillation.kind", kind, ("none", "hard", "soft"))
    if (teacher is None) != (kind == "none"):
        have = "no teacher" if teacher is None else "a teacher"
        raise UserError(
            f"task.distillation.kind is {kind!r}, and there is {have}; set it together with "
            "teacher.name and teacher.weights"
        )
    if not 0.0 <= weight <= 1.0 or not temperature > 0:
        raise UserError(
            "task.distillation.weight must be in [0, 1] and temperature above 0, got "
            f"{weight} and {temperature}"
        )
    if teacher is None:
        return None

    def hard(student: Logits, said: Logits) -> Float[Array, " batch"]:
        return optax.softmax_cross_entropy_with_integer_labels(student, jnp.argmax(said, axis=-1))

    def soft(student: Logits, said: Logits) -> Float[Array, " batch"]:
        goal = jax.nn.log_softmax(said / temperature)
        divergence = optax.losses.kl_divergence_with_log_targets(
            jax.nn.log_softmax(student / temperature), goal
        )
        return temperature**2 * divergence

    return Teaching(teacher, hard if kind == "hard" else soft, weight)
