"""DenseNet with bottlenecks and compression on CIFAR-10.

    cnn train --config=configs/cifar10/densenet.py --config.data.root=DIR --workdir=runs/densenet

Huang et al. 2017, section 4.2: 300 epochs of batches of 64, Nesterov's momentum, 0.1 of learning
rate, a tenth of it after a half and after three quarters, weight decay 1e-4, flips and crops of the
padded image; no dropout, since images are augmented.

Expected: not run yet (paper: 4.51 % error with 100_12).
"""

from typing import Any

from configs.cifar10 import cifar10


def get_config(arg: str = "") -> Any:
    """The argument is depth and growth rate: 100_12 (nothing), 250_24 or 190_40."""
    config = cifar10.get_config()
    config.model.name = f"densenet_bc_{arg or '100_12'}_cifar"
    config.loader.batch_size = 64
    config.optimizer.options.sgd.nesterov = True
    config.regularization.l2 = 1e-4
    config.schedule.update(name="step", decay_epochs=(150.0, 225.0), decay_rate=0.1)
    config.train.num_epochs = 300.0
    return config
