"""A small convolutional variational autoencoder on 4,000 real digits.

    cnn train --config=configs/mnist5k/vae.py --workdir=runs/vae
    cnn generate --workdir=runs/vae --out=digits.png

Expected: not run yet.
"""

from typing import Any

from configs import base
from configs.mnist5k import digits


def get_config(arg: str = "") -> Any:
    """Adam at 1e-3, 16 latents, a Bernoulli likelihood of pixels; takes no argument."""
    del arg
    config = digits.get_config()
    config.preprocess.update(mean=(0.5,), std=(0.5,))
    config.augment.update(rotate_degrees=10.0, shift_fraction=0.05, scale_fraction=0.1)
    config.model.name = "vae_small"
    with config.unlocked():
        config.task = base.get_vae()
    config.optimizer.update(name="adam", learning_rate=1e-3)
    config.regularization.weight_decay = 0.0
    config.train.update(num_epochs=50.0, log_every_steps=62, eval_every_steps=310)
    config.checkpoint.update(best_metric="eval/loss", best_mode="min")
    return config
