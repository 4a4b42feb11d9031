"""ConvNeXt of size atto on a part of Imagenette at 64 pixels, from scratch.

    cnn train --config=configs/imagenette/convnext.py --config.data.root=DIR --workdir=runs/a

One of three under the same recipe; experiments/imagenette has what was run.

Expected: nobody published a number for this part of the data.
"""

from typing import Any

from configs.imagenette import imagenette


def get_config(arg: str = "") -> Any:
    """The smallest of the family; takes no argument."""
    del arg
    config = imagenette.get_config()
    with config.unlocked():
        config.model.update(name="convnext_atto", drop_path_rate=0.1)
    return config
