"""What the experiments on mnist5k share: the data, small distortions, AdamW with a cosine."""

from typing import Any

from configs import base


def get_config() -> Any:
    """28 x 28 gray digits, rotated and shifted a little; 4,000 train, 1,000 evaluate."""
    config = base.get_config()
    config.data.source = "mnist5k"
    # Mean and standard deviation of MNIST's training set, as everybody uses them.
    config.preprocess.update(
        image_size=28, channels=1, mean=(0.1307,), std=(0.3081,), crop_fraction=1.0
    )
    config.augment.update(rotate_degrees=15.0, shift_fraction=0.1, scale_fraction=0.15)
    config.loader.batch_size = 64
    config.evaluation.batch_size = 250
    config.optimizer.update(name="adamw", learning_rate=2e-3)
    config.regularization.weight_decay = 1e-2
    config.schedule.warmup_epochs = 1.0
    config.train.update(num_epochs=25.0, log_every_steps=31, checkpoint_every_steps=310)
    return config
