"""Your own pictures with a class for each pixel: FCN on ResNet-50, as torchvision trains it.

    cnn train --config=configs/masks.py --config.data.root=DIR --workdir=runs/mine

DIR holds `images/` and `masks/`, each with or without `train/` and `val/`, and `classes.txt` with a
name a line; masks are PNGs whose pixels are numbers of classes, 255 being ignored. PASCAL VOC as it
is distributed is `configs/masks.py:voc` with `--config.data.root=VOCdevkit/VOC2012`. Start from
ImageNet's weights: --config.init.weights=resnet50.pth --config.init.part=backbone.

Expected: not run (torchvision's of VOC's classes in COCO: 60.5 mIoU, 91.4 % of pixels).
"""

from typing import Any

from configs import base

VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat"),
    *("chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
    *("sheep", "sofa", "train", "tvmonitor"),
)


def get_config(arg: str = "") -> Any:
    """The argument `voc` takes the folders, lists and classes of PASCAL VOC 2012."""
    config = base.get_config()
    config.data.source = "masks"
    if arg == "voc":
        config.data.update(
            train_split="ImageSets/Segmentation/train.txt",
            eval_split="ImageSets/Segmentation/val.txt",
        )
        config.data.options.masks.update(
            images="JPEGImages", masks="SegmentationClass", class_names=VOC
        )
    config.model.name = "fcn_resnet50"
    with config.unlocked():
        config.task = base.get_segmentation()
    config.preprocess.update(image_size=480, resize="letterbox", crop_fraction=1.0)
    config.augment.update(crop_area_min=0.25, flip_rate=0.5)
    config.loader.update(batch_size=32, num_threads=4)
    config.evaluation.batch_size = 32
    config.optimizer.learning_rate = 0.02
    config.regularization.weight_decay = 1e-4
    # torchvision's falls with the power 0.9.
    config.schedule.name = "linear"
    config.train.update(num_epochs=30.0, log_every_steps=10)
    config.checkpoint.best_metric = "eval/miou"
    return config
