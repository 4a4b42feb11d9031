"""pix2pix: of an image the one that belongs to it, learnt from pictures of both side by side.

    cnn train --config=configs/pix2pix.py --config.data.root=facades --workdir=runs/facades
    cnn generate --workdir=runs/facades --inputs plan.png --out=made
    cnn train --config=configs/pix2pix.py:outlines --workdir=runs/outlines

DIR holds `train/` and `val/` (or `test/`); with --config.data.options.pairs.b_to_a=True what is on
the right is given, as facades needs it. `outlines` is small: digits of their outlines, nothing to
download.

Expected: not run.
"""

from typing import Any

from configs import base


def get_config(arg: str = "") -> Any:
    """The paper's recipe (section 3.3 and appendix): Adam at 2e-4, 200 epochs of single images.

    Differs: the rate falls from the start, not from epoch 100 on; crops are 80 to 100 % of the
    area, where the paper's are 256 of 286 pixels. `outlines`: batches of 16.
    """
    config = base.get_config()
    config.data.source = "pairs"
    config.preprocess.update(
        image_size=256,
        channels=6,
        mean=(0.5,),
        std=(0.5,),
        resize="stretch",
        crop_fraction=1.0,
        interpolation="bicubic",
    )
    config.augment.update(crop_area_min=0.8, crop_ratio_max=1.0, flip_rate=0.5)
    config.loader.update(batch_size=1, num_threads=2)
    config.evaluation.batch_size = 8
    config.model.name = "pix2pix"
    with config.unlocked():
        config.task = base.get_pix2pix()
    config.optimizer.update(name="adam", learning_rate=2e-4)
    config.optimizer.options.adam.b1 = 0.5
    config.schedule.name = "linear"
    config.train.update(num_epochs=200.0, eval_every_steps=1000, checkpoint_every_steps=1000)
    config.checkpoint.update(best_metric="eval/l1", best_mode="min")
    if arg == "outlines":
        config.data.source = "outlines"
        config.preprocess.update(image_size=32, channels=2)
        config.augment.update(crop_area_min=0.0, flip_rate=0.0, rotate_degrees=10.0)
        config.loader.batch_size = 16
        config.evaluation.batch_size = 100
        config.model.name = "pix2pix_small"
        config.train.update(num_epochs=4.0, eval_every_steps=250, checkpoint_every_steps=250)
    return config
