"""CycleGAN: images of one kind like those of another, learnt from two folders without pairs.

    cnn train --config=configs/cyclegan.py --config.data.root=horse2zebra --workdir=runs/zebras
    cnn generate --workdir=runs/zebras --inputs horse.jpg --out=made

DIR holds `trainA/`, `trainB/`, `testA/` and `testB/`.

Expected: not run.
"""

from typing import Any

from configs import base, pix2pix


def get_config(arg: str = "") -> Any:
    """The paper's recipe (section 4 and appendix 7.1): Adam at 2e-4, 200 epochs of single images.

    Differs as `configs/pix2pix.py` does, from when the rate falls and in the crops; what is not set
    here is from there. Takes no argument.
    """
    del arg
    config = pix2pix.get_config()
    config.data.source = "unpaired"
    config.model.name = "cyclegan"
    with config.unlocked():
        config.task = base.get_cyclegan()
    config.train.update(eval_every_steps=2000, checkpoint_every_steps=2000)
    config.checkpoint.update(keep_best=0, best_metric="eval/cycle")
    return config
