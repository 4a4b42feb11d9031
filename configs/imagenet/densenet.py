"""DenseNet on ImageNet, as in Huang et al. 2017.

    cnn train --config=configs/imagenet/densenet.py:121 --workdir=runs/densenet121

Section 4.2: 256 images a step, 90 epochs from a rate of 0.1, divided by ten at 30 and 60, L2 of
1e-4, no dropout, in the authors' branch of facebook/fb.resnet.torch, whose recipe is in
`configs.imagenet.imagenet`.

Expected: not run yet (75.0, 76.4, 77.5, 77.8 top-1 of one crop for 121, 169, 201, 161 layers).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """The argument is the number of layers, 121, 161, 169 or 201; by default 121."""
    layers = imagenet.choose(arg, ("121", "161", "169", "201"), "121")
    config = imagenet.fb_resnet_torch()
    config.model.name = f"densenet{layers}"
    return config
