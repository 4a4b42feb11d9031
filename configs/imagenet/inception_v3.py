"""Inception-v3 on ImageNet, as in Szegedy et al. 2016, with what its authors' code adds.

    cnn train --config=configs/imagenet/inception_v3.py --workdir=runs/inception_v3

"Rethinking the Inception architecture", section 8: RMSprop of decay 0.9 and epsilon 1 at 0.045,
falling by 0.94 every two epochs, 100 epochs, 50 replicas of 32 images, gradients clipped to 2,
averaged parameters, smoothed labels. Of tensorflow/models `research/inception`: momentum 0.9, L2 of
4e-5 on kernels, an auxiliary classifier that counts 0.4, crops from 5 % of the area on, colours
jittered by 32/255 in brightness, 0.5 in contrast and saturation, 0.2 in hue, an average of 0.9999.

Differs: the replicas are synchronous; batch statistics move by 0.1 (0.0003 there).

Expected: not run yet (paper 78.8 top-1 of one crop).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """Crops of 299 pixels; takes no argument."""
    del arg
    config = imagenet.get_config()
    imagenet.resolution(config, 299, 342)
    imagenet.minus_one_to_one(config)
    config.augment.crop_area_min = 0.05
    config.policy.color_jitter = (32 / 255, 0.5, 0.5, 0.2)
    config.model.update(name="inception_v3", norm_group_size=32)
    config.loader.batch_size = 50 * 32
    imagenet.tensorflow_rmsprop(config, 0.045, eps=1.0)
    config.optimizer.clip_norm = 2.0
    config.regularization.l2 = 4e-5
    config.task.update(label_smoothing=0.1, auxiliary_weight=0.4)
    config.ema.decay = 0.9999
    imagenet.staircase(config, 0.94, 2.0, 100.0)
    return config
