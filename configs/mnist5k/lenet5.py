"""LeNet-5 on 4,000 real digits: the demo.

    cnn train --config=configs/mnist5k/lenet5.py --workdir=runs/lenet5

Expected: 98.6, 98.2, 98.1 % of 1,000 for seeds 0, 1, 2 (mean 98.3), 40 s on two CPU cores;
experiments/mnist5k has the runs.
"""

from typing import Any

from configs.mnist5k import digits


def get_config(arg: str = "") -> Any:
    """LeNet-5 (LeCun et al. 1998) as it is usually built today; takes no argument."""
    del arg
    config = digits.get_config()
    config.model.name = "lenet5"
    config.optimizer.update(name="sgd", learning_rate=0.05)
    config.optimizer.options.sgd.nesterov = True
    config.regularization.update(weight_decay=0.0, l2=5e-4)
    config.train.num_epochs = 50.0
    return config
