"""What the experiments on a part of Imagenette share: 64 pixels, AdamW, no pretrained weights."""

from typing import Any

from configs import base


def get_config() -> Any:
    """2,000 photographs of ten classes train, 500 evaluate; 40 epochs of batches of 64."""
    config = base.get_config()
    # A folder with train/ and val/, each with a folder a class: --config.data.root=DIR.
    config.data.update(source="folder")
    config.data.options.folder.decode_min_px = 128
    config.preprocess.update(image_size=64)
    config.augment.update(crop_area_min=0.25, flip_rate=0.5)
    config.loader.update(batch_size=64, num_threads=2)
    config.evaluation.batch_size = 250
    config.optimizer.update(name="adamw", learning_rate=1e-3, clip_norm=1.0)
    config.regularization.weight_decay = 0.05
    config.schedule.warmup_epochs = 5.0
    config.task.label_smoothing = 0.1
    config.train.update(num_epochs=40.0, log_every_steps=31, checkpoint_every_steps=310)
    return config
