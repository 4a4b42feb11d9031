"""VGG on ImageNet, as in Simonyan & Zisserman 2015.

    cnn train --config=configs/imagenet/vgg.py:16 --workdir=runs/vgg16

Section 3.1: 256 images a step, momentum 0.9, L2 of 5e-4, dropout 0.5, a rate of 0.01 that is
divided three times by ten in 74 epochs, crops of 224 pixels from images of 256 to 512, noise of
colours.

Differs: the rate falls after each quarter (the paper's fell when validation stalled); weights
start as the model's file says (the paper's from a trained network of 11 layers, later by Glorot &
Bengio); one crop in evaluation, where the paper slides the network over the image.

Expected: not run yet (71.5 top-1 of one crop for 16 layers, by the README of He's ResNets).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """The argument is the number of layers, 11, 13, 16 or 19; by default 16."""
    layers = imagenet.choose(arg, ("11", "13", "16", "19"), "16")
    config = imagenet.get_config()
    imagenet.scale_jitter(config, 256, 512)
    config.model.name = f"vgg{layers}"
    config.loader.batch_size = 256
    config.optimizer.learning_rate = 0.01
    config.regularization.l2 = 5e-4
    imagenet.tenfold_steps(config, (18.5, 37.0, 55.5), 74.0)
    return config
