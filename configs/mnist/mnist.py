"""What the experiments on MNIST share: the data, shifts as distortions, AdamW with a cosine."""

from typing import Any

from configs import base


def get_config(distortions: str) -> Any:
    """60,000 digits train, 10,000 evaluate, all on the devices; "distortions" shifts them."""
    if distortions not in ("", "distortions"):
        raise ValueError(f"the argument is nothing or distortions, got {distortions!r}")
    config = base.get_config()
    # A file with x_train, y_train, x_test and y_test, as Keras has it: --config.data.root=FILE.
    config.data.source = "npz"
    # Mean and standard deviation of the training set, as everybody uses them.
    config.preprocess.update(
        image_size=28, channels=1, mean=(0.1307,), std=(0.3081,), crop_fraction=1.0
    )
    config.augment.pad_px = 2 if distortions else 0
    config.resident.enabled = True
    config.loader.batch_size = 128
    config.evaluation.batch_size = 1000
    config.optimizer.update(name="adamw", learning_rate=3e-3)
    config.regularization.weight_decay = 0.05
    config.schedule.warmup_epochs = 1.0
    config.train.update(num_epochs=20.0, log_every_steps=468, checkpoint_every_steps=2340)
    return config
