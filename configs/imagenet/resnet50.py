"""ResNet-50 on ImageNet, 90 epochs of large batches as in Goyal et al. 2017.

    cnn train --config=configs/imagenet/resnet50.py --workdir=runs/resnet50
    cnn plan --config=configs/imagenet/resnet50.py --topology=v5e:4x4

"Accurate, large minibatch SGD", sections 2 and 5.1: 0.1 of learning rate for each 256 images, five
epochs of warm-up, L2 on kernels, each branch starts at zero. Differs: a cosine in place of steps,
smoothed labels, and Nesterov's momentum.

Expected: not run yet (paper 76.3 top-1 with steps and without smoothing).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """2,048 images a step, 128 on each of 16 chips; takes no argument."""
    del arg
    config = imagenet.get_config()
    with config.unlocked():
        config.model.update(name="resnet50", zero_init_last=True)
    config.loader.batch_size = 2048
    config.optimizer.update(name="sgd", learning_rate=0.1 * 2048 / 256)
    config.optimizer.options.sgd.nesterov = True
    config.regularization.l2 = 1e-4
    config.schedule.warmup_epochs = 5.0
    config.task.label_smoothing = 0.1
    config.train.num_epochs = 90.0
    return config
