"""ConvNeXt of size pico on 4,000 real digits.

    cnn train --config=configs/mnist5k/convnext.py --workdir=runs/convnext

Expected: not run yet.
"""

from typing import Any

from configs.mnist5k import digits


def get_config(arg: str = "") -> Any:
    """Patches of 2 where the paper has 4, since a digit is 28 pixels wide; takes no argument."""
    del arg
    config = digits.get_config()
    with config.unlocked():
        config.model.update(name="convnext_pico", patch_size=2, drop_path_rate=0.1)
    config.optimizer.learning_rate = 1e-3
    config.regularization.weight_decay = 0.05
    config.schedule.warmup_epochs = 2.0
    config.train.num_epochs = 20.0
    return config
