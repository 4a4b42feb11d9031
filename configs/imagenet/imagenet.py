"""What the experiments on ImageNet share: the data, crops of 224 pixels, flips, bfloat16."""

from typing import Any

from configs import base


def get_config() -> Any:
    """ILSVRC 2012 as `cnn prepare imagenet2012` leaves it, in bfloat16."""
    config = base.get_config()
    config.data.update(source="tfds", name="imagenet2012")
    config.augment.update(crop_area_min=0.08, flip_rate=0.5)
    config.evaluation.batch_size = 2000
    config.loader.num_workers = 16
    config.model.dtype = "bfloat16"
    config.schedule.warmup_epochs = 5.0
    config.train.log_every_steps = 100
    return config


def three_hundred_epochs() -> Any:
    """AdamW with the augmentation of DeiT's table 9, on which later papers build."""
    config = get_config()
    config.optimizer.name = "adamw"
    config.regularization.weight_decay = 0.05
    config.policy.update(name="rand_augment", num_ops=2, magnitude=9.0, erase_rate=0.25)
    config.task.mixing.update(mixup_alpha=0.8, cutmix_alpha=1.0)
    config.task.label_smoothing = 0.1
    config.preprocess.interpolation = "bicubic"
    config.train.num_epochs = 300.0
    return config
