"""EfficientNet B0 to B7 and V2-S on ImageNet, as in Tan & Le 2019 and 2021.

    cnn train --config=configs/imagenet/efficientnet.py:b0 --workdir=runs/efficientnet_b0

2019, section 5.2: RMSprop of decay and momentum 0.9, L2 of 1e-5, a rate of 0.256 that falls by 0.97
every 2.4 epochs, dropout from 0.2 for B0 to 0.5 for B7, AutoAugment, stochastic depth 0.2. Of
tensorflow/tpu `models/official/efficientnet`: 0.016 for each 256 images (4,096 of them here), five
epochs of warm-up, 350 epochs, epsilon 0.001 within the root, smoothed labels, an average of 0.9999,
L2 on all but the norms, TensorFlow's padding, crops with a border of 16 pixels in evaluation.
2021, section 4.3 and google/automl `efficientnetv2`: the same with four stages of growing images up
to 300 pixels (128 plus a quarter, half, ... of the difference), 384 in evaluation, RandAugment,
dropout 0.2, L2 on kernels.

Differs: batch statistics are of the whole batch. AutoAugment is the paper's table, not the code's
v0. V2-S: RandAugment has its last strength, 10, all the time (there it rises from 5), and neither
inverts nor cuts out.

Expected: not run yet (77.1, 79.1, 80.1, 81.6, 82.9, 83.6, 84.0, 84.4 top-1 for B0 to B7; 83.9 for
V2-S).
"""

from typing import Any

from configs.imagenet import imagenet

SIZES_PX = {
    "b0": 224,
    "b1": 240,
    "b2": 260,
    "b3": 300,
    "b4": 380,
    "b5": 456,
    "b6": 528,
    "b7": 600,
    "v2_s": 384,
}


def get_config(arg: str = "") -> Any:
    """The argument is `b0` to `b7` or `v2_s`; by default `b0`."""
    size = imagenet.choose(arg, SIZES_PX, "b0")
    config = imagenet.get_config()
    imagenet.resolution(config, SIZES_PX[size], SIZES_PX[size] + 32)
    config.preprocess.interpolation = "bicubic"
    with config.unlocked():
        config.model.update(
            name=f"efficientnet_{size}",
            padding="same",
            norm_momentum=0.99,
            norm_epsilon=1e-3,
            drop_path_rate=0.2,
        )
    config.loader.batch_size = 4096
    imagenet.tensorflow_rmsprop(config, 0.016 * 4096 / 256, eps=1e-3)
    config.task.label_smoothing = 0.1
    config.ema.decay = 0.9999
    imagenet.staircase(config, 0.97, 2.4, 350.0)
    config.schedule.warmup_epochs = 5.0
    if size != "v2_s":
        config.policy.name = "auto_augment"
        config.regularization.update(l2=1e-5, apply_to="no_norms")
        return config
    # hparams.py has 0.9 for batch norm, where the earlier code has 0.99.
    config.model.norm_momentum = 0.9
    # Their strengths go to 10, ours to 30.
    config.policy.update(name="rand_augment", magnitude=30.0, increasing=False)
    config.by_epoch.update(sizes_px=(171, 214, 257, 300), from_epochs=(0, 87, 175, 262))
    config.regularization.l2 = 1e-5
    imagenet.minus_one_to_one(config)
    config.preprocess.crop_fraction = 1.0
    return config
