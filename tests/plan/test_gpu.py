import pathlib

import jax
import jax.numpy as jnp

from cnn import macs, models
from cnn.cli import config_file
from cnn.plan import chips, gpu
from cnn.plan.plan import Request, make_plan
from tests import tiny

KB = 4 * 256


def alive(function, *shapes):
    return gpu.most_alive(jax.make_jaxpr(function)(*(jnp.zeros(s) for s in shapes)).jaxpr)


def test_results_live_until_their_last_use():
    # Of the chain two are alive at a time; the arguments are counted elsewhere.
    assert alive(lambda x: jnp.sin(jnp.cos(jnp.exp(x))), (256,)) == 2 * KB


def test_what_is_kept_for_later_counts_with_what_comes_between():
    def kept(x):
        first = jnp.exp(x)
        return jnp.sum(jnp.sin(jnp.cos(jnp.exp(first)))) * first

    assert alive(kept, (256,)) >= 3 * KB


def test_inner_functions_count_with_what_is_alive_outside():
    def outer(x):
        first = jnp.exp(x)
        return first + jax.jit(lambda y: jnp.sin(jnp.cos(jnp.exp(y))))(first)

    assert alive(outer, (256,)) >= 3 * KB


def test_an_estimate_has_the_operations_of_the_model():
    config = tiny.config(
        loader={"batch_size": 32}, task={**tiny.config()["task"], "accumulate_steps": 1}
    )
    plan = make_plan(config, Request(chips.parse("h100:8")))
    assert plan.is_estimate
    assert plan.num_hosts == 1
    experiment = tiny.experiment(loader={"batch_size": 4})
    batch = experiment.for_step(experiment.blank_batch(4))
    state = jax.eval_shape(experiment.task.init, jax.random.key(0), batch)
    counted = macs.count(experiment.task.step, state, batch, jax.random.key(0))
    assert plan.flops == 2 * counted
    assert plan.bytes_accessed is not None and plan.bytes_accessed > plan.argument_bytes
    assert plan.sent_bytes == 2 * 4 * plan.parameters * 7 / 8


def test_parts_of_a_batch_change_the_operations_by_nothing():
    whole, parts = (
        make_plan(
            tiny.config(task={**tiny.config()["task"], "accumulate_steps": steps}),
            Request(chips.parse("a100-80gb:2")),
        )
        for steps in (1, 4)
    )
    assert parts.flops == whole.flops
    assert parts.temporary_bytes < whole.temporary_bytes


def test_of_several_networks_all_parameters_and_gradients_count():
    path = pathlib.Path(__file__).parents[2] / "configs/mnist5k/dcgan.py"
    small = ["--config.model.name=dcgan_test", "--config.preprocess.image_size=28"]
    small.append("--config.model.conditional=False")
    config = config_file.read(str(path), small)
    plan = make_plan(config, Request(chips.parse("h100:8")))
    networks = models.generator("dcgan_test")
    latents, images = jnp.zeros((1, 12)), jnp.zeros((1, 28, 28, 1))
    count = sum(
        leaf.size
        for network, x in ((networks.generator, latents), (networks.discriminator, images))
        for leaf in jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0), x)["params"])
    )
    assert plan.parameters == count
    assert plan.sent_bytes == 2 * 4 * count * 7 / 8
