"""ResNet on ImageNet, as in He et al. 2016.

    cnn train --config=configs/imagenet/resnet.py:50 --workdir=runs/resnet50_2015

Section 3.4: 256 images a step, momentum 0.9, L2 of 1e-4, a rate of 0.1 that is divided by ten when
the error stalls, 60e4 steps, crops of 224 pixels from images of 256 to 480, noise of colours. 18
and 34 layers have the shortcut A, which has no parameters, deeper ones the stride on the first 1x1.

Differs: the rate falls at epochs 30, 60 and 90 of 120 (the paper's steps are not given).

Expected: not run yet (of one crop: 75.3, 76.4, 77.0 top-1 for 50, 101, 152 layers, by the authors'
README; ten crops, `--config.evaluation.views=ten_crop`: 77.1, 78.2, 78.6).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """The argument is the number of layers, 18, 34, 50, 101 or 152; by default 50."""
    layers = imagenet.choose(arg, ("18", "34", "50", "101", "152"), "50")
    config = imagenet.get_config()
    imagenet.scale_jitter(config, 256, 480)
    parts = {"shortcut": "A"} if layers in ("18", "34") else {"block": "bottleneck_v1"}
    with config.unlocked():
        config.model.update(name=f"resnet{layers}", **parts)
    config.loader.batch_size = 256
    config.optimizer.learning_rate = 0.1
    config.regularization.update(l2=1e-4, apply_to="all")
    imagenet.tenfold_steps(config, (30.0, 60.0, 90.0), 120.0)
    return config
