"""ConvNeXt of size pico on 4,000 real digits.

    cnn train --config=configs/mnist5k/convnext.py --workdir=runs/convnext

Expected: 98.0 % of 1,000 (seed 0), slowly on a CPU, where XLA's depthwise convolution is slow;
experiments/mnist5k has the run.
"""

from typing import Any

from configs.mnist5k import digits


def get_config(arg: str = "") -> Any:
    """Digits enlarged to 32 pixels, the least that the paper's stem takes; takes no argument."""
    del arg
    config = digits.get_config()
    with config.unlocked():
        config.model.update(name="convnext_pico", drop_path_rate=0.1)
    config.preprocess.image_size = 32
    config.optimizer.learning_rate = 1e-3
    config.regularization.weight_decay = 0.05
    config.schedule.warmup_epochs = 2.0
    config.train.num_epochs = 12.0
    return config
