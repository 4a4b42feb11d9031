"""SE-ResNet-50 on ImageNet, as in Hu et al. 2018.

    cnn train --config=configs/imagenet/squeeze_excitation.py --workdir=runs/seresnet50

Section 4: 1,024 images a step, momentum 0.9, a rate of 0.6 that is divided by ten every 30 epochs,
100 epochs, crops of random area, flips, He's initialisation; L2 of 1e-4 as in ResNet.

Differs: 64 channels are squeezed to 8 (to 4 in the paper).

Expected: not run yet (paper 76.7 top-1 of one crop; 77.6 by the authors' later training).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """The stride is on the first 1x1, as in the ResNets that it extends; takes no argument."""
    del arg
    config = imagenet.get_config()
    with config.unlocked():
        config.model.update(name="seresnet50", block="bottleneck_v1")
    config.loader.batch_size = 1024
    config.optimizer.learning_rate = 0.6
    config.regularization.update(l2=1e-4, apply_to="all")
    imagenet.tenfold_steps(config, (30.0, 60.0, 90.0), 100.0)
    return config
