"""LeNet-5 as in its paper, with 60,000 parameters, on 4,000 real digits.

    cnn train --config=configs/mnist5k/lenet5_1998.py --workdir=runs/lenet5_1998

Expected: 98.6, 97.9, 98.1 % of 1,000 for seeds 0, 1, 2 (mean 98.2); experiments/mnist5k has the
runs. The paper has 99.05 % of 10,000 digits after training on 60,000.
"""

from typing import Any

from configs.mnist5k import digits


def get_config(arg: str = "") -> Any:
    """Sparse C3, trained subsampling, radial basis functions for the digits; takes no argument."""
    del arg
    config = digits.get_config()
    with config.unlocked():
        # The paper's border of two pixels, as padding.
        config.model.update(name="lenet5_1998", padding=2)
    config.optimizer.learning_rate = 5e-3
    config.train.num_epochs = 50.0
    return config
