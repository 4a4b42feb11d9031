"""Plain ViT-S/16 on ImageNet, as in Beyer et al. 2022.

    cnn train --config=configs/imagenet/vit.py:90 --workdir=runs/vit_s_16

"Better plain ViT baselines for ImageNet-1k", section 3, and google-research/big_vision
`configs/vit_s16_i1k.py`: sine positions, the mean of the patches, a hidden layer in the head, 1,024
images a step, Adam at 1e-3, 10,000 steps of warm-up, crops from 5 % of the area on, RandAugment (2,
10), MixUp 0.2, gradients clipped to norm 1. Weight decay is 1e-4, which is not multiplied by the
learning rate there: 0.1 here, on kernels.

Differs: all of the training images (99 % there); RandAugment neither inverts nor cuts out.

Expected: not run yet (76.5 top-1 after 90 epochs, 80.0 after 300).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """The argument is the number of epochs, 90 or 300; by default 90."""
    epochs = imagenet.choose(arg, ("90", "300"), "90")
    config = imagenet.get_config()
    imagenet.minus_one_to_one(config)
    with config.unlocked():
        config.model.update(
            name="vit_s_16", pool="gap", position="sincos2d", representation_size=384
        )
    config.augment.crop_area_min = 0.05
    # big_vision's strengths go to 10, ours to 30.
    config.policy.update(name="rand_augment", num_ops=2, magnitude=30.0, increasing=False)
    config.task.mixing.mixup_alpha = 0.2
    config.loader.batch_size = 1024
    config.optimizer.update(name="adamw", learning_rate=1e-3, clip_norm=1.0)
    config.regularization.weight_decay = 0.1
    config.schedule.warmup_epochs = 10_000 / (1_281_167 // 1024)
    config.train.num_epochs = float(epochs)
    return config
