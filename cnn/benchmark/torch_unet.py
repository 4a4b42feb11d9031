"""U-Net in PyTorch, which neither torchvision nor timm has; imported in a worker only."""

from __future__ import annotations

from typing import Any


def make(torch: Any, *, channels: int, num_classes: int, padding: int, widths: Any) -> Any:
    """Ronneberger et al. 2015, figure 1: as `cnn.models.unet` and `cnn.heads.unet`, layer by layer.

    Args:
        torch: The package.
        channels: Of the images.
        num_classes: How many logits a pixel has.
        padding: Of the 3x3 convolutions: 0 as in the paper, or 1.
        widths: Channels of each level.
    """
    layers = torch.nn

    def pair(inputs: int, width: int, *, dropped: bool) -> Any:
        convs = (layers.Conv2d(inputs, width, 3, padding=padding), layers.ReLU())
        again = (layers.Conv2d(width, width, 3, padding=padding), layers.ReLU())
        return layers.Sequential(*convs, *again, *([layers.Dropout(0.5)] if dropped else []))

    class UNet(layers.Module):
        def __init__(self) -> None:
            super().__init__()
            inputs = (channels, *widths[:-1])
            last = len(widths) - 2
            self.down = layers.ModuleList(
                pair(i, width, dropped=level >= last)
                for level, (i, width) in enumerate(zip(inputs, widths, strict=True))
            )
            self.up = layers.ModuleList(
                layers.ConvTranspose2d(2 * width, width, 2, 2) for width in widths[-2::-1]
            )
            self.joined = layers.ModuleList(
                pair(2 * width, width, dropped=False) for width in widths[-2::-1]
            )
            self.logits = layers.Conv2d(widths[0], num_classes, 1)

        def forward(self, x: Any) -> Any:
            skips = []
            for level, down in enumerate(self.down):
                x = down(layers.functional.max_pool2d(x, 2) if level else x)
                skips.append(x)
            for up, joined, skip in zip(self.up, self.joined, skips[-2::-1], strict=True):
                x = up(x)
                top, left = (skip.shape[2] - x.shape[2]) // 2, (skip.shape[3] - x.shape[3]) // 2
                skip = skip[:, :, top : top + x.shape[2], left : left + x.shape[3]]
                x = joined(torch.cat([skip, x], dim=1))
            return self.logits(x)

    return UNet()
