"""WRN-50-2 on ImageNet, as in Zagoruyko & Komodakis 2016.

    cnn train --config=configs/imagenet/wide_resnet.py --workdir=runs/wide_resnet

Section 3 and table 8: trained in facebook/fb.resnet.torch, whose recipe is in
`configs.imagenet.imagenet`.

Expected: not run yet (paper 78.1 top-1 of one crop).
"""

from typing import Any

from configs.imagenet import imagenet


def get_config(arg: str = "") -> Any:
    """ResNet-50 with inner convolutions twice as wide; takes no argument."""
    del arg
    config = imagenet.fb_resnet_torch()
    config.model.name = "wide_resnet50_2"
    return config
