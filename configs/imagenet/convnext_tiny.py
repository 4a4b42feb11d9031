"""ConvNeXt-T on ImageNet, 300 epochs, as in Liu et al. 2022.

    cnn train --config=configs/imagenet/convnext_tiny.py --workdir=runs/convnext_tiny

"A ConvNet for the 2020s", table 5: 4,096 images a step, AdamW at 4e-3, twenty epochs of warm-up,
RandAugment 9, erasing, MixUp 0.8 and CutMix 1, stochastic depth 0.1, a moving average of 0.9999.

Expected: not run yet (paper 82.1 top-1).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """The smallest of the paper's; takes no argument."""
    del arg
    config = imagenet.three_hundred_epochs()
    with config.unlocked():
        config.model.update(name="convnext_tiny", drop_path_rate=0.1)
    config.loader.batch_size = 4096
    config.optimizer.learning_rate = 4e-3
    config.schedule.warmup_epochs = 20.0
    config.ema.decay = 0.9999
    return config
