"""CycleGAN: images of one kind like those of another, learnt from two folders without pairs.

    cnn train --config=configs/cyclegan.py --config.data.root=horse2zebra --workdir=runs/zebras
    cnn generate --workdir=runs/zebras --inputs horse.jpg --out=made

DIR holds `trainA/`, `trainB/`, `testA/` and `testB/`.

Expected: not run.
"""

from typing import Any

from configs import base


def get_config(arg: str = "") -> Any:
    """The paper's recipe (section 4 and appendix 7.1): Adam at 2e-4, 200 epochs of single images.

    Differs: the rate falls from the start, not from epoch 100 on; crops are 80 to 100 % of the
    area, where the paper's are 256 of 286 pixels. Takes no argument.
    """
    del arg
    config = base.get_config()
    config.data.source = "unpaired"
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
    config.model.name = "cyclegan"
    with config.unlocked():
        config.task = base.get_cyclegan()
    config.optimizer.update(name="adam", learning_rate=2e-4)
    config.optimizer.options.adam.b1 = 0.5
    config.schedule.name = "linear"
    config.train.update(num_epochs=200.0, eval_every_steps=2000, checkpoint_every_steps=2000)
    config.checkpoint.update(keep_best=0, best_metric="eval/cycle", best_mode="min")
    return config
