"""GoogLeNet on ImageNet, as in Szegedy et al. 2015; where that is silent, as in Caffe.

    cnn train --config=configs/imagenet/googlenet.py --workdir=runs/googlenet

Section 6: momentum 0.9, a rate that falls by 4 % every 8 epochs, crops of 8 to 100 % of the area,
Howard's photometric distortions, averaged parameters; sections 3 and 5: auxiliary classifiers that
count 0.3, dropout of 0.4 and 0.7. Of Caffe's `bvlc_googlenet/solver.prototxt`: 32 images a step, a
rate of 0.01, L2 of 2e-4, 10 million steps, which are 250 epochs.

Differs: one process (the paper's were asynchronous), an exponential average of parameters for
Polyak's, bilinear resizing only (the paper drew the method).

Expected: not run yet (paper 89.9 top-5 of one crop).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """With 5x5 kernels, biases and response normalisation; takes no argument."""
    del arg
    config = imagenet.get_config()
    with config.unlocked():
        config.model.update(name="googlenet_2014", auxiliary=True)
    # Howard 2013, "Some improvements on deep convolutional neural network based image
    # classification", section 2.2: contrast, brightness and colour by factors of 0.5 to 1.5.
    config.policy.color_jitter = (0.5, 0.5, 0.5, 0.0)
    config.loader.batch_size = 32
    config.optimizer.learning_rate = 0.01
    config.regularization.l2 = 2e-4
    config.task.top_k = 5
    config.ema.decay = 0.9999
    imagenet.staircase(config, 0.96, 8.0, 250.0)
    return config
