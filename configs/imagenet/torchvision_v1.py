"""torchvision's first weights on ImageNet (`IMAGENET1K_V1`), by its reference training script.

    cnn train --config=configs/imagenet/torchvision_v1.py:resnet50 --workdir=runs/resnet50_v1

pytorch/vision `references/classification/README.md`: eight GPUs of 32 images, SGD at 0.1 (0.01
without batch norm), momentum 0.9, L2 of 1e-4 on all parameters, 90 epochs divided by ten every 30
(ResNeXt 100). MobileNet v2 and v3 and ViT-B/16 have recipes of their own. Not among them: the
weights that torchvision took over from others (GoogLeNet, Inception-v3, DenseNet, EfficientNet) and
those of the later recipe (`torchvision_v2.py`).

Differs: ResNeXt-101 had 1,024 images a step at 0.4; MobileNet v3 is there the mean of three
checkpoints; the average of ViT's parameters begins with the training, not after its warm-up.

Expected: not run yet (top-1 of one crop: ResNet-18 69.76, -50 76.13, MobileNet v2 71.88, ...;
experiments/torchvision has all).
"""

from typing import Any

from configs.imagenet import imagenet

PLAIN = ("alexnet", "vgg11", "vgg13", "vgg16", "vgg19")
NORMED = (
    *(f"{name}_bn" for name in PLAIN[1:]),
    *(f"resnet{layers}" for layers in (18, 34, 50, 101, 152)),
    "resnext50_32x4d",
    "resnext101_32x8d",
    "wide_resnet50_2",
)
OTHERS = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "vit_b_16")


def get_config(arg: str = "") -> Any:
    """The argument is a model, of `PLAIN`, `NORMED` or `OTHERS`; by default `resnet50`."""
    name = imagenet.choose(arg, (*PLAIN, *NORMED, *OTHERS), "resnet50")
    config = imagenet.get_config()
    config.model.name = name
    if name == "vit_b_16":
        return _vit(config)
    config.loader.batch_size = 8 * 32
    config.regularization.update(l2=1e-4, apply_to="all")
    imagenet.tenfold_steps(config, (30.0, 60.0, 90.0), 100.0 if "resnext" in name else 90.0)
    if name in PLAIN:
        config.optimizer.learning_rate = 0.01
        return config
    config.model.norm_group_size = 32
    if name == "mobilenet_v2":
        with config.unlocked():
            config.model.dropout_rate = 0.2
        config.optimizer.learning_rate = 0.045
        config.regularization.l2 = 4e-5
        imagenet.staircase(config, 0.98, 1.0, 300.0)
    if name.startswith("mobilenet_v3"):
        _mobilenet_v3(config)
    return config


def _mobilenet_v3(config: Any) -> None:
    with config.unlocked():
        config.model.dropout_rate = 0.2
    config.policy.update(name="auto_augment", erase_rate=0.2)
    config.loader.batch_size = 8 * 128
    config.model.norm_group_size = 128
    config.optimizer.update(name="rmsprop", learning_rate=0.064)
    # train.py gives torch's RMSprop this epsilon, the root of TensorFlow's 0.001.
    config.optimizer.options.rmsprop.update(momentum=0.9, eps=0.0316, eps_in_sqrt=False)
    config.regularization.l2 = 1e-5
    imagenet.staircase(config, 0.973, 2.0, 600.0)


def _vit(config: Any) -> Any:
    config.loader.batch_size = 8 * 512
    config.optimizer.update(name="adamw", learning_rate=3e-3, clip_norm=1.0)
    config.regularization.update(weight_decay=0.3, apply_to="all")
    config.schedule.update(warmup_epochs=30.0, start_factor=0.033)
    config.policy.update(name="rand_augment", num_ops=2, magnitude=9.0)
    config.task.label_smoothing = 0.11
    config.task.mixing.update(mixup_alpha=0.2, cutmix_alpha=1.0)
    config.sampling.repeats = 3
    config.train.num_epochs = 300.0
    imagenet.torchvision_average(config)
    return config
