"""A small YOLO without anchors on scenes of several digits: where each digit is, and which.

    cnn train --config=configs/scenes/yolo.py --workdir=runs/yolo

Expected: AP 0.628, AP50 0.852, AP75 0.756 by pycocotools on 500 scenes of other digits, of seed 0,
in 21 minutes of two cores that others used too; experiments/yolo has the run.
"""

from typing import Any

from configs import base


def get_config(arg: str = "") -> Any:
    """YOLO n at 96 pixels; no argument."""
    del arg
    config = base.get_config()
    config.data.source = "scenes"
    config.data.options.scenes.target = "boxes"
    config.preprocess.update(image_size=96, channels=1, mean=(0.2,), std=(0.25,), crop_fraction=1.0)
    # As many as a scene may have digits.
    config.boxes.max_boxes = 5
    config.augment.update(shift_fraction=0.1, scale_fraction=0.2)
    config.loader.update(batch_size=16, num_threads=2)
    config.evaluation.batch_size = 50
    config.model.name = "yolo_free_n"
    with config.unlocked():
        config.task = base.get_detection()
    config.optimizer.update(name="adamw", learning_rate=2e-3)
    config.regularization.weight_decay = 1e-2
    config.schedule.warmup_epochs = 1.0
    config.ema.decay = 0.998
    config.train.update(num_epochs=12.0, log_every_steps=50)
    config.checkpoint.best_metric = "eval/ap"
    return config
