"""MobileNet v1, v2 and v3 on ImageNet: RMSprop, little weight decay, none on depthwise kernels.

    cnn train --config=configs/imagenet/mobilenet.py:v2 --workdir=runs/mobilenet_v2

v1, Howard et al. 2017, section 3.2: RMSprop as for Inception-v3, neither smoothed labels nor side
heads. Of tensorflow/models `slim/nets/mobilenet_v1_train.py`: 64 images a step, a rate of 0.045
that falls by 0.94 every 2.5 epochs, L2 of 4e-5.
v2, Sandler et al. 2018, section 6.1: L2 of 4e-5, a rate of 0.045 for 96 images. Of
`slim/nets/mobilenet/README.md`: eight GPUs of 96 images, 0.045 for each, falling by 0.98 every 2.5
epochs, 700,000 steps (420 epochs), labels smoothed by 0.1, an average of 0.9999.
v3, Howard et al. 2019, section 6.1.1: 4,096 images a step, RMSprop of momentum 0.9 at 0.1, falling
by 0.01 every 3 epochs, dropout 0.2, L2 of 1e-5, an average of 0.9999, batch norm's of 0.99.

Differs: v1 and v2 in one process. Papers do not say how long they train; here v1 for 200 epochs,
v3 for torchvision's 600. v3's epsilon, warm-up and smoothing are EfficientNet's. Crops take at
least a quarter of the area in v1, whose paper "limits the size of small crops".

Expected: not run yet (70.6, 72.0, 75.2 and 67.5 top-1 of one crop for v1, v2, v3 large and small).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """The argument is `v1`, `v2`, `v3_large` or `v3_small`; by default `v2`."""
    version = imagenet.choose(arg, ("v1", "v2", "v3_large", "v3_small"), "v2")
    config = imagenet.get_config()
    imagenet.minus_one_to_one(config)
    config.model.name = f"mobilenet_{version}"
    config.regularization.update(l2=4e-5, apply_to="no_depthwise")
    if version == "v1":
        config.augment.crop_area_min = 0.25
        config.loader.batch_size = 64
        imagenet.tensorflow_rmsprop(config, 0.045, eps=1.0)
        imagenet.staircase(config, 0.94, 2.5, 200.0)
        return config
    config.task.label_smoothing = 0.1
    config.ema.decay = 0.9999
    with config.unlocked():
        config.model.dropout_rate = 0.2
    if version == "v2":
        config.loader.batch_size = 8 * 96
        config.model.norm_group_size = 96
        imagenet.tensorflow_rmsprop(config, 8 * 0.045, eps=1.0)
        imagenet.staircase(config, 0.98, 2.5, 420.0)
        return config
    config.loader.batch_size = 4096
    config.model.norm_group_size = 128
    config.regularization.l2 = 1e-5
    imagenet.tensorflow_rmsprop(config, 0.1, eps=1e-3)
    imagenet.staircase(config, 0.99, 3.0, 600.0)
    config.schedule.warmup_epochs = 5.0
    return config
