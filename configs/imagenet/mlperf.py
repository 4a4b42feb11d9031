"""ResNet-50 v1.5 on ImageNet by MLPerf training's rules for LARS.

    cnn train --config=configs/imagenet/mlperf.py --workdir=runs/mlperf

mlcommons/logging, reference convergence point `resnet_ref_3264` of rules 1.0: 3,264 images a step,
LARS at 10.5, momentum 0.9, L2 of 5e-5, two epochs of warm-up, a polynomial of power 2 that reaches
1e-4 after 37 epochs, statistics of 204 images; it reached 75.9 % after 34 to 37 epochs. Of
mlcommons/training `image_classification`: labels smoothed by 0.1, crops from 5 % of the area on,
biases and norms neither decayed nor scaled, a trust coefficient of 0.001.

Expected: not run yet (75.9 top-1 is the target of MLPerf).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """Takes no argument."""
    del arg
    config = imagenet.get_config()
    config.augment.crop_area_min = 0.05
    config.model.update(name="resnet50", norm_group_size=204)
    config.loader.batch_size = 3264
    config.optimizer.update(name="lars", learning_rate=10.5)
    config.optimizer.options.lars.update(momentum=0.9, trust_coefficient=1e-3, eps=0.0)
    config.regularization.l2 = 5e-5
    config.task.label_smoothing = 0.1
    config.schedule.update(name="quadratic", warmup_epochs=2.0, end_factor=1e-4 / 10.5)
    config.train.num_epochs = 37.0
    return config
