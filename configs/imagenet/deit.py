"""DeiT without its teacher on ImageNet, 300 epochs, as in Touvron et al. 2021.

    cnn train --config=configs/imagenet/deit.py:b --workdir=runs/deit_b

"Training data-efficient image transformers", table 9: 1,024 images a step, AdamW at 5e-4 for each
512, weight decay 0.05, five epochs of warm-up, RandAugment 9, erasing, MixUp 0.8 and CutMix 1,
stochastic depth 0.1, each image three times. The warm-up from 1e-6 and the cosine's end at 1e-5 are
those of the authors' `main.py`.

Expected: not run yet (paper 72.2, 79.8, 81.8 top-1 for Ti, S, B).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """The argument is the size, `ti`, `s` or `b`; by default `s`."""
    size = imagenet.choose(arg, ("ti", "s", "b"), "s")
    config = imagenet.deit()
    with config.unlocked():
        config.model.update(name=f"vit_{size}_16", drop_path_rate=0.1)
    config.loader.batch_size = 1024
    config.optimizer.learning_rate = 5e-4 * 1024 / 512
    config.schedule.update(start_factor=1e-6 / 1e-3, end_factor=1e-5 / 1e-3)
    config.sampling.repeats = 3
    return config
