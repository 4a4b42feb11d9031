"""What the experiments on CIFAR-10 share: the data on the devices, flips, pad-and-crop, SGD."""

from typing import Any

from configs import base


def get_config() -> Any:
    """50,000 pictures of 32 pixels train, 10,000 evaluate; batches of 128, momentum 0.9."""
    config = base.get_config()
    # A folder with train/ and test/, each with a folder a class: --config.data.root=DIR.
    config.data.source = "folder"
    # Mean and standard deviation of the training set, as everybody uses them.
    config.preprocess.update(
        image_size=32,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        crop_fraction=1.0,
    )
    config.augment.update(flip_rate=0.5, pad_px=4)
    config.resident.enabled = True
    config.loader.num_threads = 2
    config.evaluation.batch_size = 500
    config.optimizer.update(name="sgd", learning_rate=0.1)
    # The implementations of these papers (Caffe, Torch) decay norms and biases too.
    config.regularization.apply_to = "all"
    config.train.update(log_every_steps=195, checkpoint_every_steps=1950)
    return config
