"""AlexNet on ImageNet, as in Krizhevsky et al. 2012: two groups, response normalisation.

    cnn train --config=configs/imagenet/alexnet.py --workdir=runs/alexnet

Sections 4 and 5: 128 images a step, momentum 0.9, L2 of 5e-4, "roughly 90 cycles" from a rate of
0.01, crops from images of 256 pixels, noise of colours, dropout 0.5, biases of 1; ten crops.

Differs: the rate falls after each quarter (the paper divided it "three times", by hand); crops may
reach beyond the central square of an image that is longer than high; images of 227 pixels, with
which the paper's numbers add up.

Expected: not run yet (paper 59.3 top-1, 81.8 top-5 of one network).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """One network; takes no argument."""
    del arg
    config = imagenet.get_config()
    imagenet.resolution(config, 227, 256)
    imagenet.scale_jitter(config, 256, 256)
    config.evaluation.update(views="ten_crop", batch_size=500)
    config.model.name = "alexnet_2012"
    config.loader.batch_size = 128
    config.optimizer.learning_rate = 0.01
    config.regularization.l2 = 5e-4
    config.task.top_k = 5
    imagenet.tenfold_steps(config, (22.5, 45.0, 67.5), 90.0)
    return config
