"""LeNet-5 as in its paper, with 60,000 parameters, on MNIST.

    cnn train --config=configs/mnist/lenet5_1998.py --config.data.root=mnist.npz --workdir=runs/1998

Sparse C3, trained subsampling and radial basis functions for the digits. The recipe is not that of
1998: AdamW and a cosine in place of a diagonal Newton method, batches of 128, cross-entropy.

Expected: experiments/lenet has the runs (LeCun et al. 1998: 0.95 % error).
"""

from typing import Any

from configs.mnist import mnist


def get_config(arg: str = "") -> Any:
    """The argument is nothing, or "distortions": digits are shifted by up to two pixels."""
    config = mnist.get_config(arg)
    with config.unlocked():
        # The paper's border of two pixels, as padding.
        config.model.update(name="lenet5_1998", padding=2)
    config.optimizer.learning_rate = 5e-3
    return config
