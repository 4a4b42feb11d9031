"""Any prepared data set of tensorflow-datasets that has `image` and `label`.

    cnn prepare mnist
    cnn train --config=configs/tfds.py:mnist --workdir=runs/mnist

`cnn prepare` needs `pip install -e '.[prepare]'`; training does not need TensorFlow. Other splits
and places: --config.data.train_split='train[:90%]' --config.data.root=DIR

Expected: not run yet.
"""

from typing import Any

from configs import base

# Side in pixels, channels and a model of fitting size for the sets of small pictures.
SMALL = {
    "mnist": (28, 1, "lenet5"),
    "fashion_mnist": (28, 1, "lenet5"),
    "kmnist": (28, 1, "lenet5"),
    "cifar10": (32, 3, "resnet20_cifar"),
    "cifar100": (32, 3, "resnet56_cifar"),
    "svhn_cropped": (32, 3, "resnet20_cifar"),
}


def get_config(arg: str = "mnist") -> Any:
    """LeNet-5, a CIFAR ResNet or ResNet-50, by the data set; the argument is its name."""
    config = base.get_config()
    config.data.update(source="tfds", name=arg)
    config.optimizer.update(name="adamw", learning_rate=1e-3)
    config.regularization.weight_decay = 0.05
    config.train.num_epochs = 30.0
    base_name = arg.partition(":")[0].partition("/")[0]
    if base_name in SMALL:
        size, channels, model = SMALL[base_name]
        config.model.name = model
        config.preprocess.update(image_size=size, channels=channels, crop_fraction=1.0)
        config.preprocess.update(mean=(0.5,) * channels, std=(0.25,) * channels)
        config.augment.pad_px = 2
    else:
        config.augment.update(crop_area_min=0.08, flip_rate=0.5)
        config.loader.num_threads = 2
        config.task.label_smoothing = 0.1
    return config
