"""ViT-Ti on a part of Imagenette at 64 pixels, from scratch.

    cnn train --config=configs/imagenette/vit.py --config.data.root=DIR --workdir=runs/a

One of three under the same recipe; experiments/imagenette has what was run.

Expected: nobody published a number for this part of the data.
"""

from typing import Any

from configs.imagenette import imagenette


def get_config(arg: str = "") -> Any:
    """Patches of 8 pixels, so that there are 64 of them; takes no argument."""
    del arg
    config = imagenette.get_config()
    with config.unlocked():
        config.model.update(name="vit_ti_16", patch_size=8, pool="gap", drop_path_rate=0.1)
    return config
