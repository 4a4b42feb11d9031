"""What the experiments on ImageNet share: the data, and parts of recipes that several have."""

from collections.abc import Collection
from typing import Any

from configs import base


def get_config() -> Any:
    """ILSVRC 2012 as `cnn prepare imagenet2012` leaves it: crops of 224 pixels, flips, bfloat16."""
    config = base.get_config()
    config.data.update(source="tfds", name="imagenet2012")
    config.augment.update(crop_area_min=0.08, flip_rate=0.5)
    config.evaluation.batch_size = 2000
    config.loader.num_workers = 16
    config.model.dtype = "bfloat16"
    config.train.log_every_steps = 100
    return config


def choose(arg: str, known: Collection[str], default: str) -> str:
    """The argument of a config file, which is one of `known`.

    Raises:
        ValueError: If it is none of them.
    """
    if arg and arg not in known:
        raise ValueError(f"unknown argument {arg!r}; known: {', '.join(known)}")
    return arg or default


def resolution(config: Any, size_px: int, resize_px: int) -> None:
    """Evaluates, and trains where nothing else is said, on crops of `size_px` from `resize_px`."""
    config.preprocess.update(image_size=size_px, crop_fraction=size_px / resize_px)
    if size_px > 299:
        config.evaluation.batch_size = 500


def minus_one_to_one(config: Any) -> None:
    """Pixels in [-1, 1], as Google's networks have them."""
    config.preprocess.update(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def scale_jitter(config: Any, smallest_px: int, largest_px: int) -> None:
    """Training images as until 2015: crops from a random scale, AlexNet's noise of colours."""
    config.augment.crop_area_min = 0.0
    config.scale_jitter.shorter_px = (smallest_px, largest_px)
    config.filters.pca_noise = 0.1


def tenfold_steps(config: Any, at_epochs: tuple[float, ...], num_epochs: float) -> None:
    """The learning rate is divided by ten at these epochs."""
    config.schedule.update(name="step", decay_epochs=at_epochs, decay_rate=0.1)
    config.train.num_epochs = num_epochs


def tensorflow_rmsprop(config: Any, learning_rate: float, eps: float) -> None:
    """RMSprop as in TensorFlow 1; there the learning rate is within the momentum."""
    config.optimizer.update(name="rmsprop", learning_rate=learning_rate)
    config.optimizer.options.rmsprop.update(momentum=0.9, eps=eps, initial_scale=1.0)


def staircase(config: Any, rate: float, every_epochs: float, num_epochs: float) -> None:
    """The learning rate is multiplied by `rate` every so many epochs."""
    config.schedule.update(name="staircase", decay_epochs=(every_epochs,), decay_rate=rate)
    config.train.num_epochs = num_epochs


def torchvision_average(config: Any) -> None:
    """The average of torchvision's later recipes, of batch size and length that are set already.

    Every 32 steps it moves by 2e-5 times their images divided by the epochs:
    `--model-ema-steps 32 --model-ema-decay 0.99998` of train.py.
    """
    share = 32 * config.loader.batch_size / config.train.num_epochs
    config.ema.update(decay=1 - 2e-5 * share, every_steps=32)


def fb_resnet_torch() -> Any:
    """The recipe of facebook/fb.resnet.torch, in which wide ResNet and DenseNet were trained.

    256 images a step over four GPUs, Nesterov's momentum, L2 on all parameters, colours jittered by
    0.4, thirty epochs at each of three rates.
    """
    config = get_config()
    config.preprocess.interpolation = "bicubic"
    config.policy.color_jitter = (0.4, 0.4, 0.4, 0.0)
    config.filters.pca_noise = 0.1
    config.loader.batch_size = 256
    config.model.norm_group_size = 64
    config.optimizer.options.sgd.nesterov = True
    config.regularization.update(l2=1e-4, apply_to="all")
    tenfold_steps(config, (30.0, 60.0), 90.0)
    return config


def deit() -> Any:
    """AdamW for 300 epochs with the augmentation of DeiT's table 9, on which later papers build."""
    config = get_config()
    config.optimizer.name = "adamw"
    config.regularization.weight_decay = 0.05
    config.policy.update(name="rand_augment_timm", num_ops=2, magnitude=9.0, erase_rate=0.25)
    config.task.mixing.update(mixup_alpha=0.8, cutmix_alpha=1.0)
    config.task.label_smoothing = 0.1
    config.preprocess.interpolation = "bicubic"
    config.schedule.warmup_epochs = 5.0
    config.train.num_epochs = 300.0
    return config
