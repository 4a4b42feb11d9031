"""Optimizers by name, as optax transformations.

An update is written out once, for every optimizer, in the order of `make_optimizer`:

    gradient -> clip -> + L2 and L1 -> optimizer's scaling -> + weight decay -> (LAMB's trust ratio)
             -> times minus the learning rate -> (LARS's momentum) -> (times the layer's factor)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
import optax.contrib

from cnn.core import Params
from cnn.errors import check_not_negative, unknown
from cnn.optim.decay import Decay, kernels
from cnn.optim.rates import LayersAbove, scale_layers


def make_optimizer(
    schedule: optax.Schedule,
    decay: Decay,
    *,
    name: str,
    learning_rate: float,
    clip_norm: float,
    options: Mapping[str, Mapping[str, Any]],
    layer_decay: float = 1.0,
    layers_above: LayersAbove | None = None,
) -> optax.GradientTransformation:
    """The optimizer.

    Args:
        schedule: Factor on the learning rate by step.
        decay: Penalties.
        name: A key of `OPTIMIZERS`.
        learning_rate: At factor 1.
        clip_norm: Gradients of a larger global norm are scaled down to it; 0 means no clipping.
        options: By optimizer name, its own arguments; only those of `name` are read.
        layer_decay: The whole update of a parameter is multiplied by this to the power of the
            number of layers above it, in (0, 1]: layers near the images, which a fine-tuning has
            the least to teach, move least (Clark et al. 2020, "ELECTRA", section 3.1; 0.65 for
            BEiT's ViT-B, 0.8 for ConvNeXt). 1 is off.
        layers_above: (path) -> that number; read only where `layer_decay` is not 1.

    Raises:
        UserError: For an unknown optimizer, an option that it does not have, or a number out of its
            range.
    """
    check_not_negative("optimizer", learning_rate=learning_rate, clip_norm=clip_norm)
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    scaling = OPTIMIZERS[name]
    own = dict(options.get(name, {}))
    known = inspect.signature(scaling).parameters
    for option in own:
        if option not in known:
            raise unknown(f"option of {name}", option, known)
    late = [_momentum_of_lars(**own)] if name == "lars" else []
    if layer_decay != 1 and layers_above is not None:
        late.append(scale_layers(layer_decay, layers_above))
    return optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        decay.before,
        scaling(**own),
        decay.after,
        optax.scale_by_trust_ratio() if name == "lamb" else optax.identity(),
        optax.scale_by_learning_rate(lambda step: learning_rate * schedule(step)),
        *late,
    )


def average_gradients(axis_name: str | None) -> optax.GradientTransformation:
    """Averages the gradients over the devices of a `pmap`; nothing where the axis is None."""
    if axis_name is None:
        return optax.identity()
    return optax.stateless(lambda updates, _: jax.lax.pmean(updates, axis_name))


def _sgd(momentum: float = 0.9, nesterov: bool = False) -> optax.GradientTransformation:
    return optax.trace(momentum, nesterov) if momentum else optax.identity()


def _adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1, b2, eps)


def _nadam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1, b2, eps, nesterov=True)


def _lamb(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-6) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1, b2, eps)


def _lars(
    momentum: float = 0.9,
    nesterov: bool = False,
    trust_coefficient: float = 0.001,
    eps: float = 0.0,
) -> optax.GradientTransformation:
    """The trust ratio of kernels; biases, scales and embeddings move as with SGD, as in MLPerf.

    You et al. 2017, "Large batch training of convolutional networks", algorithm 1, whose weight
    decay is `regularization.l2`. Differs: the ratio is by the norm of gradient plus decay, as in
    optax; there, and in MLPerf's reference, it is by the sum of the norms of the two.
    """
    del momentum, nesterov
    ratio = optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps)
    return optax.masked(ratio, kernels)


def _momentum_of_lars(
    momentum: float = 0.9, nesterov: bool = False, **_: Any
) -> optax.GradientTransformation:
    # What is remembered was multiplied by the learning rate of its own step.
    return _sgd(momentum, nesterov)


def _lion(b1: float = 0.9, b2: float = 0.99) -> optax.GradientTransformation:
    return optax.scale_by_lion(b1, b2)


def _rmsprop(
    decay: float = 0.9,
    eps: float = 1e-8,
    momentum: float = 0.0,
    initial_scale: float = 0.0,
    eps_in_sqrt: bool = True,
) -> optax.GradientTransformation:
    """RMSprop; `initial_scale=1` is TensorFlow's, `eps_in_sqrt=False` torch's."""
    return optax.chain(optax.scale_by_rms(decay, eps, initial_scale, eps_in_sqrt), _sgd(momentum))


def _adagrad(
    initial_accumulator_value: float = 0.1, eps: float = 1e-7
) -> optax.GradientTransformation:
    return optax.scale_by_rss(initial_accumulator_value, eps)


def _adafactor(
    decay_rate: float = 0.8, clipping_threshold: float = 1.0, min_dim_size_to_factor: int = 128
) -> optax.GradientTransformation:
    return optax.chain(
        optax.scale_by_factored_rms(
            decay_rate=decay_rate, min_dim_size_to_factor=min_dim_size_to_factor
        ),
        optax.clip_by_block_rms(clipping_threshold),
        optax.scale_by_param_block_rms(),
    )


def _muon(
    beta: float = 0.95, ns_steps: int = 5, b1: float = 0.9, b2: float = 0.999
) -> optax.GradientTransformation:
    """Muon for hidden kernels, a convolution's taken as one matrix; Adam for the rest.

    The update is scaled to Adam's root mean square of about 0.2, so that both share one learning
    rate (Liu et al. 2025, "Muon is scalable for LLM training", section 2.2).
    """

    def matrices(params: Params) -> Any:
        return jax.tree.map(
            lambda p: optax.contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1),
            params,
        )

    def labels(params: Params) -> Any:
        def label(path: tuple[Any, ...], is_kernel: bool) -> str:
            hidden = getattr(path[0], "key", "") != "head"
            return "muon" if is_kernel and hidden else "adam"

        return jax.tree_util.tree_map_with_path(label, kernels(params))

    def to_adams_size(update: jax.Array) -> jax.Array:
        # An orthogonal m x n matrix has a root mean square of 1 / sqrt(max(m, n)).
        rows, columns = update.size // update.shape[-1], update.shape[-1]
        return 0.2 * max(rows, columns) ** 0.5 * update

    muon = optax.chain(
        optax.contrib.scale_by_muon(
            beta=beta, ns_steps=ns_steps, weight_dimension_numbers=matrices
        ),
        optax.stateless(lambda updates, _: jax.tree.map(to_adams_size, updates)),
    )
    return optax.partition({"muon": muon, "adam": optax.scale_by_adam(b1, b2)}, labels)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adafactor": _adafactor,
    "adagrad": _adagrad,
    "adam": _adam,
    "adamw": _adam,  # the same scaling: what differs is which penalty the config asks for
    "lamb": _lamb,
    "lars": _lars,
    "lion": _lion,
    "muon": _muon,
    "nadam": _nadam,
    "rmsprop": _rmsprop,
    "sgd": _sgd,
}
"""Optimizers by name: functions from their options to the scaling of a gradient."""
