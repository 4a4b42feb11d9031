"""Files and bytes -> uint8 images, whatever mode, depth or orientation they were saved with."""

from __future__ import annotations

import io
import os
import pathlib

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image, ImageOps

from cnn.errors import UserError

Path = str | os.PathLike[str]

_JPEG = b"\xff\xd8\xff"
_EXIF = b"Exif\x00\x00"
_ORIENTATION = 0x0112


def read_image(
    data: Path | bytes, *, channels: int = 3, name: str | None = None, min_px: int = 0
) -> UInt8[np.ndarray, "height width channels"]:
    """The picture as a viewer shows it: turned by its EXIF tag, transparency on white, first frame.

    The content decides what a file is, whatever its extension. 16-bit gray is scaled to 8 bits
    (65535 becomes 255); palettes, CMYK, YCbCr and 1-bit images are converted. The array is
    read-only. Pillow says what a file means; ordinary JPEGs are decoded to the same pixels by
    libjpeg-turbo directly, in a third of the time.

    Args:
        data: A path, or the bytes of an encoded image.
        channels: 3 for RGB, 1 for gray (ITU-R 601 luma).
        name: What an error calls the image; the path by default.
        min_px: A JPEG is decoded at an eighth, a quarter or half of its size, the smallest at which
            its shorter side keeps so many pixels: the pixels of Pillow's `draft`. That takes less
            time and memory, and is not the same as resizing. 0 decodes it whole.

    Raises:
        UserError: If it cannot be opened, is no image, is truncated or corrupt, holds floats, or
            has more pixels than `PIL.Image.MAX_IMAGE_PIXELS` (a decompression bomb).
    """
    name = name or ("an image in memory" if isinstance(data, bytes) else os.fspath(data))
    try:
        encoded = data if isinstance(data, bytes) else read_file(data)
        if not encoded:
            raise UserError(f"cannot read {name}: the file is empty")
        image = _ordinary_jpeg(encoded, channels, name, min_px)
        if image is not None:
            return image
        with Image.open(io.BytesIO(encoded)) as file:
            _refuse_bombs(file.width * file.height, name)
            if file.format == "JPEG":
                factor = reduction(file.height, file.width, min_px)
                file.draft(None, (file.width // factor, file.height // factor))
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


def read_file(path: Path) -> bytes:
    """The bytes of a file. Raises a UserError if it cannot be opened."""
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {os.fspath(path)}: {error.strerror}") from error


def _bomb(name: str) -> str:
    return (
        f"cannot read {name}: more than {Image.MAX_IMAGE_PIXELS:,} pixels, which may be a "
        "decompression bomb; store a smaller copy"
    )


def _refuse_bombs(num_pixels: int, name: str) -> None:
    # Pillow itself refuses from twice the limit on, and warns below.
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and num_pixels > limit:
        raise UserError(_bomb(name))


def _ordinary_jpeg(
    encoded: bytes, channels: int, name: str, min_px: int
) -> UInt8[np.ndarray, "height width channels"] | None:
    """An upright, whole JPEG of gray or colours; None for whatever Pillow should look at."""
    if not encoded.startswith(_JPEG):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
        _refuse_bombs(int(height) * int(width), name)
        if not (colours == "Gray" or (colours in ("YCbCr", "RGB") and channels == 3)):
            return None
        if _EXIF in encoded and Image.open(io.BytesIO(encoded)).getexif().get(_ORIENTATION, 1) != 1:
            return None
        # Strict: of a file with the slightest fault, Pillow says whether it can be read.
        factor = reduction(int(height), int(width), min_px)
        image = simplejpeg.decode_jpeg(
            encoded,
            "GRAY" if channels == 1 else "RGB",
            min_height=-(-int(height) // factor),
            min_width=-(-int(width) // factor),
            min_factor=factor,
            strict=True,
        )
    except ValueError:
        return None
    image.flags.writeable = False
    return image


def reduction(height: int, width: int, min_px: int) -> int:
    """By what a JPEG may be reduced so that its shorter side keeps `min_px`: 8, 4, 2 or 1."""
    if not min_px:
        return 1
    return next((f for f in (8, 4, 2) if min(height, width) // f >= min_px), 1)


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
