"""ViT-S/16 on ImageNet, 90 epochs, as in Beyer et al. 2022.

    cnn train --config=configs/imagenet/vit_s_16.py --workdir=runs/vit_s_16

"Better plain ViT baselines for ImageNet-1k", section 3: sine positions, no class token, 1,024
images a step, AdamW at 1e-3, 10,000 steps of warm-up, RandAugment (2, 10), MixUp 0.2, gradients
clipped to norm 1. Weight decay is that paper's 1e-4, which it does not multiply by the learning
rate: 0.1 here.

Expected: not run yet (paper 76.5 top-1).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """The plain baseline; takes no argument."""
    del arg
    config = imagenet.get_config()
    with config.unlocked():
        config.model.update(name="vit_s_16", pool="gap", position="sincos2d")
    config.augment.crop_area_min = 0.05
    config.policy.update(name="rand_augment", num_ops=2, magnitude=10.0)
    config.task.mixing.mixup_alpha = 0.2
    config.loader.batch_size = 1024
    config.optimizer.update(name="adamw", learning_rate=1e-3, clip_norm=1.0)
    config.regularization.weight_decay = 0.1
    config.schedule.warmup_epochs = 8.0
    config.train.num_epochs = 90.0
    return config
