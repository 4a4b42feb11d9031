"""A small ViT (patches of 4, 6 blocks of width 96) on 4,000 real digits.

    cnn train --config=configs/mnist5k/vit.py --workdir=runs/vit

Expected: not run to the end yet; about ten minutes on two CPU cores.
"""

from typing import Any

from configs.mnist5k import digits


def get_config(arg: str = "") -> Any:
    """About 0.7 million parameters, 49 tokens an image; takes no argument."""
    del arg
    config = digits.get_config()
    with config.unlocked():
        config.model.update(
            name="vit_ti_16", patch_size=4, width=96, depth=6, num_heads=3, pool="gap"
        )
    config.optimizer.learning_rate = 1e-3
    config.regularization.weight_decay = 0.05
    config.schedule.warmup_epochs = 3.0
    config.train.num_epochs = 30.0
    return config
