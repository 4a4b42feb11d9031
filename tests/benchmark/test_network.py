import jax
import jax.numpy as jnp
import pytest

from cnn import generators, models, parallel
from cnn.benchmark import devices, job
from cnn.benchmark.network import JaxNetwork
from cnn.errors import UserError

TRAIN = job.Network("resnet_test", "train", 8, 32, 3, 10, "float32")
INFER = TRAIN._replace(mode="infer")


@pytest.fixture(autouse=True)
def _one_device(monkeypatch):
    devices = jax.devices()[:1]
    monkeypatch.setattr(parallel, "make_strategy", lambda **_: parallel.mesh_strategy(devices))


@pytest.mark.parametrize("stock", [False, True])
def test_training_steps_are_taken_one_after_another(stock):
    side = JaxNetwork(TRAIN, stock=stock)
    prepared = side.prepare(None)
    assert prepared.compile_seconds > 0
    assert prepared.estimated_bytes > 8 * 32 * 32 * 3 * 4
    side.start()
    before = side._state[0]
    assert int(before.step) == 2
    kernel = jnp.copy(before.params["head"]["logits"]["kernel"])
    assert side.run(3) > 0
    after = side._state[0]
    assert int(after.step) == 5
    assert not jnp.array_equal(kernel, after.params["head"]["logits"]["kernel"])
    assert jnp.isfinite(side._state[1]["loss"].compute())
    # The state was donated.
    assert before.params["head"]["logits"]["kernel"].is_deleted()


def test_a_segmenter_learns_pixels():
    side = JaxNetwork(TRAIN._replace(model="unet_test", batch_size=2, num_classes=3), stock=False)
    side.prepare(None)
    side.start()
    assert side.run(1) > 0
    assert jnp.isfinite(side._state[1]["pixel_accuracy"].compute())
    assert side.count().parameters == 1759


def test_noise_of_a_detector_has_boxes_with_area_and_padding():
    side = JaxNetwork(TRAIN._replace(model="yolo_free_test", batch_size=2), stock=False)
    noise = side._noise(2)
    height, width = noise["boxes"][..., 2:].T[::-1] - noise["boxes"][..., :2].T[::-1]
    assert (height > 0).all() and (width > 0).all()
    assert noise["boxes"].min() >= 0 and noise["boxes"].max() <= 1
    labels = noise["box_labels"]
    assert (labels[:, : job.NUM_OBJECTS] >= 0).all() and (labels[:, job.NUM_OBJECTS :] == -1).all()


def generator_job(name, mode="train", **changes):
    source = models.source(name)
    facts = {"image_size": source.image_size, "channels": source.channels, "num_classes": 0}
    return TRAIN._replace(model=name, mode=mode, batch_size=4, **{**facts, **changes})


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("family", generators.REGISTRY.families())
def test_a_generators_step_is_that_of_its_task(family):
    """Traced: products of all that is trained, and of what makes the images alone."""
    name = f"{family}_test"
    infer = JaxNetwork(generator_job(name, "infer"), stock=False).count()
    train = JaxNetwork(generator_job(name), stock=False).count()
    info = models.describe(name)
    assert infer[:2] == train[:2] == (info.parameters, info.macs)
    # CycleGAN's two generators go there and back.
    assert infer.step_macs == {"cyclegan": 4}.get(family, 1) * 4 * info.macs
    assert train.step_macs > 3 * 4 * info.macs


@pytest.mark.usefixtures("unchecked")
def test_a_generator_learns_and_makes_images():
    side = JaxNetwork(generator_job("vae_test"), stock=False)
    side.prepare(None)
    side.start()
    assert side.run(1) > 0
    assert int(side._state[0].step) == 3
    assert jnp.isfinite(side._state[1]["divergence"].compute())
    side = JaxNetwork(generator_job("dcgan_test", "infer"), stock=False)
    side.prepare(None)
    side.start()
    assert side.run(1) > 0
    assert {name: x.shape for name, x in side._batch.items()} == {"latent": (4, 12)}
    assert side._compiled(side._state[0], side._batch)["images"].shape == (4, 28, 28, 1)


def test_noise_of_generators_are_pictures_and_pairs():
    pairs = JaxNetwork(generator_job("pix2pix_test", channels=3), stock=False)._noise(2)
    assert pairs["image"].shape == (2, 32, 32, 6)
    assert -1 <= pairs["image"].min() < -0.9 and 0.9 < pairs["image"].max() <= 1
    labels = JaxNetwork(generator_job("dcgan_test"), stock=False)._noise(2)["label"]
    assert labels.tolist() == [0, 0]


@pytest.mark.usefixtures("unchecked")
def test_a_generator_is_made_for_the_size_of_the_images():
    side = JaxNetwork(generator_job("stylegan2_test", image_size=32), stock=False)
    assert side._model.generator.image_size == 32
    for name, message in (("dcgan_test", "30"), ("pix2pix_test", "multiple of 32 pixels, got 30")):
        side = JaxNetwork(generator_job(name, image_size=30), stock=False)
        with pytest.raises(UserError, match=message):
            side.prepare(None)


@pytest.mark.usefixtures("unchecked")
def test_wgan_gp_has_its_penalty():
    plain, penalised = (
        JaxNetwork(generator_job(name, image_size=32), stock=False).count()
        for name in ("dcgan", "wgan_gp")
    )
    assert plain[:2] == penalised[:2]
    assert penalised.step_macs > 1.3 * plain.step_macs


def test_inference_keeps_no_optimizer_and_changes_nothing():
    side = JaxNetwork(INFER, stock=False)
    side.prepare(None)
    side.start()
    kernel = jnp.copy(side._state[0].params["head"]["logits"]["kernel"])
    assert side.run(2) > 0
    state = side._state[0]
    assert int(state.step) == 0
    assert not jax.tree.leaves(state.opt_state)
    assert jnp.array_equal(kernel, state.params["head"]["logits"]["kernel"])


def test_macs_of_a_step_are_its_own():
    forward = JaxNetwork(INFER, stock=False).count()
    train = JaxNetwork(TRAIN, stock=False).count()
    assert forward.parameters == train.parameters == 5266
    assert forward.macs == train.macs
    assert forward.step_macs == 8 * forward.macs
    # Two more products for each, but no gradient by the images.
    assert 2.5 < train.step_macs / forward.step_macs < 3.0


def test_memory_is_estimated_before_anything_is_allocated(monkeypatch):
    monkeypatch.setattr(devices, "available_bytes", lambda: 5_000_000_000)
    side = JaxNetwork(INFER._replace(batch_size=2_000_000), stock=False)
    with pytest.raises(UserError, match=r"needs about [\d,.]+ GB, and 5.0 GB are free"):
        side.prepare(None)
    assert side._batch is None


def test_a_batch_that_the_devices_cannot_share_is_one_line(monkeypatch):
    two = jax.devices()[:2]
    monkeypatch.setattr(parallel, "make_strategy", lambda **_: parallel.mesh_strategy(two))
    with pytest.raises(UserError, match="--batch_size=7 does not divide over 2 devices"):
        JaxNetwork(TRAIN._replace(batch_size=7), stock=False)


def test_steps_run_over_several_devices(monkeypatch):
    two = jax.devices()[:2]
    monkeypatch.setattr(parallel, "make_strategy", lambda **_: parallel.mesh_strategy(two))
    side = JaxNetwork(TRAIN, stock=False)
    side.prepare(None)
    side.start()
    assert int(side._state[0].step) == 2
    assert len(side._batch["image"].sharding.device_set) == 2


def test_bfloat16_is_the_computations():
    side = JaxNetwork(INFER._replace(dtype="bfloat16"), stock=False)
    side.prepare(None)
    assert "bf16" in side._compiled.as_text()
