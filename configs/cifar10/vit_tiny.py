"""A small ViT on CIFAR-10, of 2.7 million parameters and patches of 4 pixels.

    cnn train --config=configs/cifar10/vit_tiny.py --config.data.root=DIR --workdir=runs/vit

Lee et al. 2021, "Vision transformer for small-size datasets", section 4.1, and the authors' code
(aanna0701/SPT_LSA_ViT, main.py): 100 epochs of AdamW at 1e-3, 10 of them warm-up, decay 0.05,
AutoAugment, flips and crops, each image three times in a row, erasing 0.25, MixUp and CutMix of
parameter 1, smoothing 0.1, stochastic depth 0.1. Differs: AutoAugment's policy is ImageNet's, and
each batch is mixed, where theirs is in one of two cases.

Expected: not run yet (paper: 93.58 %). "short" is 6 epochs with flips and crops alone, for which
experiments/vit_small_data has what was run.
"""

from typing import Any

from configs.cifar10 import cifar10


def get_config(arg: str = "") -> Any:
    """The argument is nothing, or "short" for a training of minutes without strong augmentation."""
    if arg not in ("", "short"):
        raise ValueError(f"the argument is nothing or short, got {arg!r}")
    config = cifar10.get_config()
    with config.unlocked():
        config.model.update(
            name="vit_ti_16",
            patch_size=4,
            width=192,
            depth=9,
            num_heads=12,
            mlp_ratio=2,
            drop_path_rate=0.1,
        )
    config.optimizer.update(name="adamw", learning_rate=1e-3)
    config.regularization.update(weight_decay=0.05, apply_to="all")
    config.schedule.warmup_epochs = 10.0
    config.train.num_epochs = 100.0
    config.task.label_smoothing = 0.1
    if arg == "short":
        config.model.update(width=96, depth=6, num_heads=3, drop_path_rate=0.0)
        config.schedule.warmup_epochs = 1.0
        config.train.num_epochs = 6.0
        return config
    # Policies are the host's.
    config.resident.enabled = False
    config.policy.update(name="auto_augment", erase_rate=0.25)
    config.sampling.repeats = 3
    config.task.mixing.update(mixup_alpha=1.0, cutmix_alpha=1.0)
    return config
