"""Your own pictures: a folder of class folders, with or without a part for evaluation.

    cnn train --config=configs/folder.py --config.data.root=DIR --workdir=runs/mine

DIR holds one folder a class, or `train/` and `val/` that do; without `val/` one picture in five of
each class is held out, always the same ones. On a CPU take a smaller model and smaller pictures:

    --config.model.name=resnet8_cifar --config.preprocess.image_size=64

Expected: it depends on the pictures.
"""

from typing import Any

from configs import base


def get_config(arg: str = "") -> Any:
    """ResNet-18 at 224 pixels, from scratch; the argument is the folder."""
    config = base.get_config()
    config.data.update(source="folder", root=arg)
    config.model.name = "resnet18"
    config.augment.update(crop_area_min=0.25, flip_rate=0.5)
    config.loader.update(batch_size=32, num_threads=2)
    config.evaluation.batch_size = 64
    config.optimizer.update(name="adamw", learning_rate=1e-3)
    config.regularization.weight_decay = 0.05
    config.schedule.warmup_epochs = 2.0
    config.train.update(num_epochs=30.0, log_every_steps=10)
    config.task.label_smoothing = 0.1
    return config
