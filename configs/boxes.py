"""Your own pictures with boxes of objects: YOLO without anchors, all of each picture seen.

    cnn train --config=configs/boxes.py:coco --config.data.root=DIR --workdir=runs/mine

The argument is the format of the annotations. `coco`: DIR holds a JSON for training and one for
evaluation, also in `annotations/`, and the folders of pictures. `voc`: `JPEGImages/`,
`Annotations/` and `ImageSets/Main/train.txt` and `val.txt`. `yolo`: `images/train/`, `images/val/`,
`labels/` with the same folders, and `data.yaml` or `classes.txt`. Other places:
`data.options.boxes`. A larger network: --config.model.name=yolo_free_s.

Expected: not run (YOLOv8n's authors have 37.3 AP on COCO after 500 epochs).
"""

from typing import Any

from configs import base


def get_config(arg: str = "coco") -> Any:
    """YOLO n at 640 pixels; the argument is `coco`, `voc` or `yolo`."""
    config = base.get_config()
    config.data.source = "boxes"
    config.data.options.boxes.format = arg or "coco"
    config.preprocess.update(
        image_size=640, resize="letterbox", crop_fraction=1.0, mean=(0.0,), std=(1.0,)
    )
    config.augment.update(flip_rate=0.5, shift_fraction=0.1, scale_fraction=0.5)
    # A mosaic has twice the side, so that its objects are half as large.
    config.mosaic.update(rate=1.0, until_epoch=90)
    config.policy.color_jitter = (0.4, 0.4, 0.7, 0.015)
    config.loader.update(batch_size=64, num_threads=8)
    config.evaluation.batch_size = 64
    config.model.name = "yolo_free_n"
    with config.unlocked():
        config.task = base.get_detection()
    config.optimizer.update(name="adamw", learning_rate=2e-3, clip_norm=10.0)
    config.regularization.weight_decay = 1e-2
    config.schedule.warmup_epochs = 3.0
    config.ema.decay = 0.9999
    config.train.update(num_epochs=100.0, log_every_steps=50)
    config.checkpoint.best_metric = "eval/ap"
    return config
