"""LeNet-5, as it is usually built today, on MNIST.

    cnn train --config=configs/mnist/lenet5.py --config.data.root=mnist.npz --workdir=runs/lenet5

The recipe is not that of 1998: AdamW and a cosine over 20 epochs in place of a diagonal Newton
method over 20, batches of 128 in place of single digits.

Expected: experiments/lenet has the runs (LeCun et al. 1998: 0.95 % error).
"""

from typing import Any

from configs.mnist import mnist


def get_config(arg: str = "") -> Any:
    """The argument is nothing, or "distortions": digits are shifted by up to two pixels."""
    config = mnist.get_config(arg)
    config.model.name = "lenet5"
    return config
