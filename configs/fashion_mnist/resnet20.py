"""ResNet-20 on Fashion-MNIST.

    cnn train --config=configs/fashion_mnist/resnet20.py --workdir=runs/fashion

The files are those of Debian's package dataset-fashion-mnist, or of any folder:
--config.data.root=DIR.

Expected: not run yet.
"""

from typing import Any

from configs import base


def get_config(arg: str = "") -> Any:
    """The 20-layer network of He et al. (2016), section 4.2; the argument is the folder."""
    config = base.get_config()
    config.data.update(source="fashion_mnist", root=arg)
    # Mean and standard deviation of the training set, as is usual for it.
    config.preprocess.update(
        image_size=28, channels=1, mean=(0.2860,), std=(0.3530,), crop_fraction=1.0
    )
    config.augment.pad_px = 2
    config.by_epoch.alternate_flips = True
    config.loader.update(batch_size=128, num_threads=2)
    config.model.name = "resnet20_cifar"
    config.optimizer.update(name="sgd", learning_rate=0.1)
    config.optimizer.options.sgd.nesterov = True
    config.regularization.l2 = 5e-4
    config.schedule.warmup_epochs = 1.0
    config.train.num_epochs = 30.0
    return config
