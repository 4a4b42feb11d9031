"""torchvision's later weights on ImageNet (`IMAGENET1K_V2`): the new recipe of 2021.

    cnn train --config=configs/imagenet/torchvision_v2.py:resnet50 --workdir=runs/resnet50_v2

"How to train state-of-the-art models using TorchVision's latest primitives" and pytorch/vision
`references/classification/README.md`: eight GPUs of 128 images, SGD at 0.5, five epochs of warm-up
from 1 % of it, cosine, 600 epochs, L2 of 2e-5 on all but the norms, TrivialAugment, erasing 0.1,
smoothed labels, MixUp 0.2 and CutMix 1, each image four times, an average of parameters, 176
pixels in training and 224 from 232 in evaluation. ConvNeXt (whose weights are called V1) has AdamW
at 1e-3 and 0.05 of weight decay; EfficientNetV2-S trains at 300 and is evaluated at 384 pixels;
ViT-L/16 trains at 224 with gradients clipped to norm 1 and each image three times.

Differs: the average begins with the training, not after its warm-up; what is erased becomes noise.

Expected: not run yet (top-1 of one crop: ResNet-50 80.86, -101 81.89, -152 82.28, ConvNeXt-T 82.52,
...; experiments/torchvision has all).
"""

from typing import Any

from configs.imagenet import imagenet

# By model, the shorter side of evaluation's images, which was chosen after training: the weights'.
RESIZE_PX = {
    "resnet50": 232,
    "resnet101": 232,
    "resnet152": 232,
    "resnext50_32x4d": 232,
    "resnext101_32x8d": 232,
    "wide_resnet50_2": 232,
    "convnext_tiny": 236,
    "convnext_small": 230,
    "convnext_base": 232,
    "convnext_large": 232,
    "efficientnet_v2_s": 384,
    "vit_l_16": 242,
}


def get_config(arg: str = "") -> Any:
    """The argument is a key of `RESIZE_PX`; by default `resnet50`."""
    name = imagenet.choose(arg, RESIZE_PX, "resnet50")
    config = imagenet.get_config()
    imagenet.resolution(config, 384 if name == "efficientnet_v2_s" else 224, RESIZE_PX[name])
    config.by_epoch.update(sizes_px=(176,), from_epochs=(0,))
    config.model.name = name
    config.policy.update(name="trivial_augment_wide", erase_rate=0.1)
    config.task.label_smoothing = 0.1
    config.task.mixing.update(mixup_alpha=0.2, cutmix_alpha=1.0)
    config.sampling.repeats = 4
    config.loader.batch_size = 8 * 128
    config.optimizer.learning_rate = 0.5
    config.regularization.update(l2=2e-5, apply_to="no_norms")
    config.schedule.update(warmup_epochs=5.0, start_factor=0.01)
    config.train.num_epochs = 600.0
    imagenet.torchvision_average(config)
    if name.startswith("convnext"):
        config.optimizer.update(name="adamw", learning_rate=1e-3)
        config.regularization.update(l2=0.0, weight_decay=0.05)
    elif name == "efficientnet_v2_s":
        config.by_epoch.sizes_px = (300,)
        imagenet.minus_one_to_one(config)
    elif name == "vit_l_16":
        config.by_epoch.update(sizes_px=(), from_epochs=())
        config.optimizer.clip_norm = 1.0
        config.sampling.repeats = 3
    else:
        config.model.norm_group_size = 128
    return config
