"""Files and bytes -> uint8 images, whatever mode, depth or orientation they were saved with."""

from __future__ import annotations

import io
import os
import pathlib

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from cnn.errors import UserError

Path = str | os.PathLike[str]


def read_image(
    data: Path | bytes, *, channels: int = 3, name: str | None = None
) -> UInt8[np.ndarray, "height width channels"]:
    """The picture as a viewer shows it: turned by its EXIF tag, transparency on white, first frame.

    16-bit gray is scaled to 8 bits (65535 becomes 255); palettes, CMYK, YCbCr and 1-bit images are
    converted. The array is read-only.

    Args:
        data: A path, or the bytes of an encoded image.
        channels: 3 for RGB, 1 for gray (ITU-R 601 luma).
        name: What an error calls the image; the path by default.

    Raises:
        UserError: If it cannot be opened, is no image, is truncated or corrupt, holds floats, or
            has more pixels than `PIL.Image.MAX_IMAGE_PIXELS` (a decompression bomb).
    """
    name = name or ("an image in memory" if isinstance(data, bytes) else os.fspath(data))
    try:
        with Image.open(
            io.BytesIO(data) if isinstance(data, bytes) else pathlib.Path(data)
        ) as file:
            _refuse_bombs(file, name)
            file.load()
            return _as_array(_upright(file), channels)
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(_bomb(name)) from error
    except Image.UnidentifiedImageError as error:
        raise UserError(f"cannot read {name}: not an image, or cut in its first bytes") from error
    # Readers of corrupt files raise whatever they stumble on: OSError, SyntaxError, struct.error...
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"cannot read {name}: {reason}") from error


def _bomb(name: str) -> str:
    return (
        f"cannot read {name}: more than {Image.MAX_IMAGE_PIXELS:,} pixels, which may be a "
        "decompression bomb; store a smaller copy"
    )


def _refuse_bombs(image: Image.Image, name: str) -> None:
    # Pillow itself refuses from twice the limit on, and warns below.
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise UserError(_bomb(name))


def _upright(image: Image.Image) -> Image.Image:
    turned = ImageOps.exif_transpose(image)
    return image if turned is None else turned


def _as_array(image: Image.Image, channels: int) -> UInt8[np.ndarray, "height width channels"]:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range; store 8 or 16 bits")
    if image.mode.startswith("I"):
        # Pillow's own conversion to 8 bits clips instead of scaling.
        wide = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        image = Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    elif image.has_transparency_data:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        image = Image.alpha_composite(white, picture)
    array = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return array[:, :, None] if channels == 1 else array
