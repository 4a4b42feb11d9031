"""ViT-B/16 on ImageNet, 300 epochs, as in Touvron et al. 2021.

    cnn train --config=configs/imagenet/vit_b_16.py --workdir=runs/vit_b_16

"Training data-efficient image transformers" (DeiT), table 9: 1,024 images a step, AdamW at 5e-4 for
each 512, RandAugment 9, erasing, MixUp 0.8 and CutMix 1, stochastic depth 0.1, each image three
times in a row.

Expected: not run yet (paper 81.8 top-1).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """DeiT-B without its teacher; takes no argument."""
    del arg
    config = imagenet.three_hundred_epochs()
    with config.unlocked():
        config.model.update(name="vit_b_16", drop_path_rate=0.1)
    config.loader.batch_size = 1024
    config.optimizer.learning_rate = 5e-4 * 1024 / 512
    config.sampling.repeats = 3
    return config
