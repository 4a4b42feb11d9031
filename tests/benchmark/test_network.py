import jax
import jax.numpy as jnp
import pytest

from cnn import parallel
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
