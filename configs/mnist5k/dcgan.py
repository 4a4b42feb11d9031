"""A small DCGAN on 4,000 real digits.

    cnn train --config=configs/mnist5k/dcgan.py --workdir=runs/dcgan
    cnn evaluate --workdir=runs/dcgan --on=generation --features=runs/lenet5
    cnn generate --workdir=runs/dcgan --out=digits.png

Expected: 97.6 % of its digits recognised by a LeNet-5, after 4 core-minutes; experiments/dcgan
has the runs.
"""

from typing import Any

from configs import base
from configs.mnist5k import digits


def get_config(arg: str = "") -> Any:
    """Adam with a momentum of 0.5, as in the paper's section 4; takes no argument.

    Differs from the paper: digits of 28 pixels, smaller networks, batches of 64, an averaged
    generator; the generator's rate is 1e-3, five times the discriminator's (Chen et al. 2016,
    "InfoGAN", appendix C, of MNIST), and both fall to 0; and both networks know the classes of
    digits (Mirza & Osindero 2014, "Conditional generative adversarial nets"), which the paper's do
    not: `--config.model.conditional=False`.
    """
    del arg
    config = digits.get_config()
    config.preprocess.update(mean=(0.5,), std=(0.5,))
    # What is learnt is what is made: a turned digit would be made turned.
    config.augment.update(rotate_degrees=0.0, shift_fraction=0.0, scale_fraction=0.0)
    config.model.name = "dcgan_28"
    with config.unlocked():
        config.model.conditional = True
        config.task = base.get_gan()
    config.task.discriminator_rate = 0.2
    config.optimizer.update(name="adam", learning_rate=1e-3)
    config.optimizer.options.adam.b1 = 0.5
    config.regularization.weight_decay = 0.0
    config.schedule.update(name="linear", warmup_epochs=0.0)
    config.ema.decay = 0.999
    config.train.update(
        num_epochs=40.0, log_every_steps=62, eval_every_steps=620, checkpoint_every_steps=620
    )
    # No number says which of a GAN's checkpoints is best.
    config.checkpoint.update(keep_best=0, best_metric="eval/loss", best_mode="min")
    return config
