"""ResNet-50 and ResNet-18 on ImageNet in 16 to 88 epochs, as libffcv/ffcv-imagenet trains them.

    cnn train --config=configs/imagenet/ffcv.py:16 --workdir=runs/ffcv_16
    cnn train --config=configs/imagenet/ffcv.py:resnet18_88 --workdir=runs/ffcv_resnet18_88

`rn50_configs` and `rn18_configs`: SGD of momentum 0.9, a rate that rises for two epochs and then
falls to 0 in a line, L2 on all but the norms, smoothed labels, images of 160 pixels for the first
three quarters and of 192 then, 256 in evaluation, over both mirror images. ResNet-50: eight GPUs of
512 images at 1.7, L2 of 1e-4. ResNet-18: one of 1,024 at 0.5, 5e-5.

Differs: strided convolutions are not blurred (`use_blurpool`); images are not shrunk before
training (to 500 and 400 pixels there).

Expected: not run yet (ResNet-50: 73.8, 76.6, 77.2, 78.4 top-1 after 16, 32, 40, 88 epochs;
ResNet-18: 72.4 after 88).
"""

from typing import Any

from configs.imagenet import imagenet

# By epochs, the first with 192 pixels: the ramp of 32 pixels between `start_ramp` and `end_ramp`
# is rounded to multiples of 32.
LARGE_FROM = {"16": 12, "24": 19, "32": 25, "40": 32, "56": 45, "88": 71}


def get_config(arg: str = "") -> Any:
    """The argument is a key of `LARGE_FROM`, or that behind `resnet18_`; by default 16."""
    known = (*LARGE_FROM, *(f"resnet18_{epochs}" for epochs in LARGE_FROM))
    arg = imagenet.choose(arg, known, "16")
    epochs = arg.removeprefix("resnet18_")
    config = imagenet.get_config()
    # The crop is of 7/8 of the shorter side, as it is of 224 from 256.
    config.preprocess.image_size = 256
    config.evaluation.update(views="flip", batch_size=1000)
    config.by_epoch.update(sizes_px=(160, 192), from_epochs=(0, LARGE_FROM[epochs]))
    if arg == epochs:
        config.model.update(name="resnet50", norm_group_size=512)
        config.loader.batch_size = 8 * 512
        config.optimizer.learning_rate = 1.7
        config.regularization.l2 = 1e-4
    else:
        config.model.name = "resnet18"
        config.loader.batch_size = 1024
        config.optimizer.learning_rate = 0.5
        config.regularization.l2 = 5e-5
    config.regularization.apply_to = "no_norms"
    config.task.label_smoothing = 0.1
    config.schedule.update(name="linear", warmup_epochs=2.0, start_factor=1e-4)
    config.train.num_epochs = float(epochs)
    return config
