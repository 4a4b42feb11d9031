"""ResNet-8 (three stages of one block, the paper's CIFAR layout) on 4,000 real digits.

    cnn train --config=configs/mnist5k/resnet8.py --workdir=runs/resnet8

Expected: 98.4 % of 1,000 (seed 0); experiments/mnist5k has the run.
"""

from typing import Any

from configs.mnist5k import digits


def get_config(arg: str = "") -> Any:
    """The network of He et al. 2016, section 4.2, with n = 1; takes no argument."""
    del arg
    config = digits.get_config()
    config.model.name = "resnet8_cifar"
    return config
