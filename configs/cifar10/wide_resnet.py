"""Wide residual networks on CIFAR-10.

    cnn train --config=configs/cifar10/wide_resnet.py:16_8 --config.data.root=DIR --workdir=runs/wrn

Zagoruyko & Komodakis 2016, section 3: 200 epochs of batches of 128, Nesterov's momentum, 0.1 of
learning rate, times 0.2 after epochs 60, 120 and 160, weight decay 5e-4, flips and crops of the
image padded with its mirror image, means and deviations of channels.

Expected: not run yet (paper: 4.00 % error with 28_10, 3.89 % with dropout, medians of 5).
"""

from typing import Any

from configs.cifar10 import cifar10


def get_config(arg: str = "") -> Any:
    """The argument is depth and width: 28_10 (nothing), 16_8 or 40_4; ",dropout" adds 0.3 of it."""
    size, _, dropout = arg.partition(",")
    if dropout not in ("", "dropout"):
        raise ValueError(f"behind the comma comes dropout, got {dropout!r}")
    config = cifar10.get_config()
    config.model.name = f"wrn_{size or '28_10'}_cifar"
    if dropout:
        with config.unlocked():
            config.model.dropout_rate = 0.3
    config.resident.reflect = True
    config.optimizer.options.sgd.nesterov = True
    config.regularization.l2 = 5e-4
    config.schedule.update(name="step", decay_epochs=(60.0, 120.0, 160.0), decay_rate=0.2)
    config.train.num_epochs = 200.0
    return config
