"""A small StyleGAN2 on 4,000 real digits.

    cnn train --config=configs/mnist5k/stylegan2.py --workdir=runs/stylegan2
    cnn generate --workdir=runs/stylegan2 --style_mixing --out=mixed.png

Expected: not run.
"""

from typing import Any

from configs import base
from configs.mnist5k import digits


def get_config(arg: str = "") -> Any:
    """The authors' optimizer (configuration F), on images of 32 pixels; takes no argument.

    With penalties every 4 and 16 steps the authors take 4/5 of the rate 0.002 for the generator and
    16/17 for the discriminator, and powers of b2 = 0.99 alike. Differs: one b2 for both.
    """
    del arg
    config = digits.get_config()
    config.preprocess.update(image_size=32, mean=(0.5,), std=(0.5,))
    config.augment.update(rotate_degrees=10.0, shift_fraction=0.05, scale_fraction=0.1)
    config.model.name = "stylegan2_small"
    with config.unlocked():
        config.task = base.get_stylegan2()
    config.task.discriminator_rate = (16 / 17) / (4 / 5)
    config.loader.batch_size = 32
    config.optimizer.update(name="adam", learning_rate=0.0016)
    config.optimizer.options.adam.update(b1=0.0, b2=0.992)
    config.regularization.weight_decay = 0.0
    config.schedule.update(name="constant", warmup_epochs=0.0)
    # Half of it is forgotten after 10,000 images.
    config.ema.decay = 0.5 ** (32 / 10_000)
    config.train.update(
        num_epochs=100.0, log_every_steps=125, eval_every_steps=1250, checkpoint_every_steps=1250
    )
    config.checkpoint.update(keep_best=0, best_metric="eval/loss", best_mode="min")
    return config
