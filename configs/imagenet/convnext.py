"""ConvNeXt on ImageNet, 300 epochs, as in Liu et al. 2022.

    cnn train --config=configs/imagenet/convnext.py:tiny --workdir=runs/convnext_tiny

"A ConvNet for the 2020s", table 5: 4,096 images a step, AdamW at 4e-3, twenty epochs of warm-up,
cosine to 1e-6, weight decay 0.05, RandAugment 9, erasing, MixUp 0.8 and CutMix 1, an average of
0.9999. Stochastic depth and the 50 epochs of warm-up of isotropic networks are those of the
authors' `TRAINING.md`, as is that only the large isotropic one has layer scale.

Expected: not run yet (82.1, 83.1, 83.8, 84.3 top-1 for T, S, B, L; 78.7, 82.0, 82.6 for isotropic
S, B, L).
"""

from typing import Any

from configs.imagenet import imagenet

DROP_PATH_RATES = {
    "tiny": 0.1,
    "small": 0.4,
    "base": 0.5,
    "large": 0.5,
    "iso_small": 0.1,
    "iso_base": 0.2,
    "iso_large": 0.5,
}


def get_config(arg: str = "") -> Any:
    """The argument is a key of `DROP_PATH_RATES`; by default `tiny`."""
    size = imagenet.choose(arg, DROP_PATH_RATES, "tiny")
    config = imagenet.deit()
    with config.unlocked():
        config.model.update(name=f"convnext_{size}", drop_path_rate=DROP_PATH_RATES[size])
        if size == "iso_large":
            config.model.layer_scale = 1e-6
    config.loader.batch_size = 4096
    config.optimizer.learning_rate = 4e-3
    config.schedule.warmup_epochs = 50.0 if size.startswith("iso") else 20.0
    config.schedule.end_factor = 1e-6 / 4e-3
    config.ema.decay = 0.9999
    return config
