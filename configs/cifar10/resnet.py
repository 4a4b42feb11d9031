"""ResNet of 20 to 110 layers on CIFAR-10.

    cnn train --config=configs/cifar10/resnet.py:20 --config.data.root=DIR --workdir=runs/resnet20

He et al. 2016, section 4.2: 64,000 steps of 128, 0.1 of learning rate, a tenth of it from steps
32,000 and 48,000 on, weight decay 1e-4, flips and crops of the padded image, shortcut A. The
network of 110 layers starts at 0.01 until it is right four times in five, after about 400 steps:
here the rate rises over 400 steps. The paper takes the mean of each pixel off, here each channel is
normalised.

Expected: experiments/resnet has what was run (paper: 8.75 % error with 20 layers).
"""

from typing import Any

from configs.cifar10 import cifar10

_STEPS_PER_EPOCH = 50_000 // 128


def get_config(arg: str = "") -> Any:
    """The argument is the depth: 20 (nothing), 32, 44, 56, 110 or 1202."""
    depth = arg or "20"
    config = cifar10.get_config()
    config.model.name = f"resnet{depth}_cifar"
    config.regularization.l2 = 1e-4
    config.schedule.update(
        name="step",
        decay_epochs=(32_000 / _STEPS_PER_EPOCH, 48_000 / _STEPS_PER_EPOCH),
        decay_rate=0.1,
    )
    if depth == "110":
        config.schedule.warmup_epochs = 400 / _STEPS_PER_EPOCH
    config.train.num_steps = 64_000
    return config
