"""MobileNetV2 on a part of Imagenette at 64 pixels, from scratch.

    cnn train --config=configs/imagenette/mobilenet.py --config.data.root=DIR --workdir=runs/a

One of three under the same recipe; experiments/imagenette has what was run.

Expected: nobody published a number for this part of the data.
"""

from typing import Any

from configs.imagenette import imagenette


def get_config(arg: str = "") -> Any:
    """The network of width 1; takes no argument."""
    del arg
    config = imagenette.get_config()
    config.model.name = "mobilenet_v2"
    return config
