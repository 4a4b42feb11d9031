import io
import pathlib
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from cnn.data.decode import read_image, reduction
from cnn.errors import UserError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 4, 3), np.uint8)
GRAY = RNG.integers(0, 256, (6, 4), np.uint8)
BLOCKS = np.repeat(np.repeat(RNG.integers(0, 256, (2, 2, 3), np.uint8), 16, 0), 16, 1)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_bomb(side: int) -> bytes:
    """A PNG whose header promises side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def test_rgb_from_a_path_and_from_bytes(tmp_path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(encoded(Image.fromarray(RGB)))
    for data in (path, str(path), path.read_bytes()):
        image = read_image(data)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, RGB)


def test_gray_is_repeated_and_kept(tmp_path) -> None:
    data = encoded(Image.fromarray(GRAY))
    np.testing.assert_array_equal(read_image(data), np.stack([GRAY] * 3, -1))
    np.testing.assert_array_equal(read_image(data, channels=1), GRAY[:, :, None])


def test_colours_become_luma() -> None:
    luma = read_image(encoded(Image.fromarray(RGB)), channels=1)
    assert luma.shape == (6, 4, 1)
    np.testing.assert_allclose(luma[:, :, 0], RGB @ [0.299, 0.587, 0.114], atol=0.51)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_turned_by_its_exif_tag(orientation) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.swapaxes(0, 1),
        6: np.rot90(RGB, -1),
        7: RGB.swapaxes(0, 1)[::-1, ::-1],
        8: np.rot90(RGB, 1),
    }
    data = encoded(Image.fromarray(RGB), exif=exif)
    np.testing.assert_array_equal(read_image(data), upright[orientation])


def test_a_palette_gives_its_colours() -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    want = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 255, 0]]])
    np.testing.assert_array_equal(read_image(encoded(image)), want)
    transparent = encoded(image, transparency=1)
    want[0, 1] = want[1, 1] = 255
    np.testing.assert_array_equal(read_image(transparent), want)
    several = encoded(image, transparency=bytes([255, 0, 255]))
    np.testing.assert_array_equal(read_image(several), want)


def test_transparency_lies_on_white() -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [100, 0, 255, 51]]], np.uint8)
    want = [[[10, 20, 30], [255, 255, 255], [224, 204, 255]]]
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(pixels))), want)
    gray = np.array([[[10, 255], [10, 0], [100, 51]]], np.uint8)
    got = read_image(encoded(Image.fromarray(gray, "LA")), channels=1)
    np.testing.assert_array_equal(got[:, :, 0], [[10, 255, 224]])
    key = encoded(Image.fromarray(RGB), transparency=tuple(int(x) for x in RGB[2, 1]))
    want = RGB.copy()
    want[2, 1] = 255
    np.testing.assert_array_equal(read_image(key), want)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_clipped(kind) -> None:
    values = np.array([[0, 257, 256 * 128], [65535, 65278, 128]], np.uint16)
    want = np.round(values / 257).astype(np.uint8)
    got = read_image(encoded(Image.fromarray(values), kind), channels=1)
    np.testing.assert_array_equal(got[:, :, 0], want)
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(values), kind))[..., 1], want)


def test_one_bit_is_black_and_white() -> None:
    mask = GRAY > 127
    got = read_image(encoded(Image.fromarray(mask)), channels=1)
    np.testing.assert_array_equal(got[:, :, 0], mask * 255)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "L", "RGB"])
def test_jpeg_in_any_colour_space(mode) -> None:
    data = encoded(Image.fromarray(BLOCKS).convert(mode), "JPEG", quality=95)
    want = np.asarray(Image.fromarray(BLOCKS).convert(mode).convert("RGB"))
    assert np.abs(read_image(data).astype(int) - want).mean() < 4


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_frame_of_an_animation(kind) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (200, 90, 10)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(read_image(data), np.full((8, 8, 3), 200))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9])
def test_a_truncated_file_is_named(kind, keep, tmp_path) -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(noise, kind)
    path = tmp_path / "cut.img"
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(UserError, match=r"^cannot read .*cut\.img: \S") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_image_missing_or_a_folder_is_named(tmp_path) -> None:
    (tmp_path / "x.png").write_text("hello")
    with pytest.raises(UserError, match=r"x\.png: not an image"):
        read_image(tmp_path / "x.png")
    with pytest.raises(UserError, match=r"gone\.png: No such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory"):
        read_image(tmp_path)
    with pytest.raises(UserError, match=r"^cannot read record 7: not an image"):
        read_image(b"hello", name="record 7")


def test_unreadable_is_named(tmp_path, monkeypatch) -> None:
    # The tests may run as root, who may read everything.
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"secret\.png: Permission denied"):
        read_image(pathlib.Path("secret.png"))


@pytest.mark.parametrize("side", [10_000, 60_000])
@pytest.mark.parametrize("action", ["error", "ignore"])
def test_a_decompression_bomb_is_refused(side, action) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter(action, Image.DecompressionBombWarning)
        with pytest.raises(UserError, match=r"cannot read bomb: more than .* decompression bomb"):
            read_image(png_bomb(side), name="bomb")


def test_floats_are_refused() -> None:
    image = Image.fromarray(np.zeros((2, 2), np.float32))
    with pytest.raises(UserError, match="floating-point pixels"):
        read_image(encoded(image, "TIFF"))


def jpeg_header(side: int) -> bytes:
    """A JPEG whose header promises side x side pixels."""
    data = bytearray(encoded(Image.fromarray(BLOCKS), "JPEG"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", side, side)
    return bytes(data)


def test_a_bomb_of_a_jpeg_is_refused_by_its_header() -> None:
    with pytest.raises(UserError, match=r"cannot read bomb: more than .* decompression bomb"):
        read_image(jpeg_header(60_000), name="bomb")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_ordinary_jpeg_has_the_pixels_that_pillow_gives(
    mode, subsampling, progressive, channels
) -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (37, 51, 3), np.uint8)).convert(mode)
    options = {"progressive": progressive, "quality": 70}
    if mode == "RGB":
        options["subsampling"] = subsampling
    data = encoded(noise, "JPEG", **options)
    want = np.asarray(Image.open(io.BytesIO(data)).convert("L" if channels == 1 else "RGB"))
    got = read_image(data, channels=channels)
    np.testing.assert_array_equal(got, want.reshape(37, 51, channels))
    assert not got.flags.writeable


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_by_its_exif_tag(orientation) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a camera"
    data = encoded(Image.fromarray(BLOCKS[:, :16]), "JPEG", exif=exif, quality=95)
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(read_image(data), np.asarray(picture))


def test_a_jpeg_is_reduced_as_long_as_its_shorter_side_keeps_enough() -> None:
    sizes = [(1500, 2000, 448), (1500, 2000, 375), (1500, 2000, 187), (1500, 2000, 750)]
    assert [reduction(*size) for size in sizes] == [2, 4, 8, 2]
    assert [reduction(*size) for size in [(2000, 1500, 751), (99, 9999, 50), (9, 9, 0)]] == [1] * 3


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "turned"])
def test_a_reduced_jpeg_has_the_pixels_of_pillows_draft(mode, factor) -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (61, 83, 3), np.uint8))
    options = {}
    if mode == "turned":
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6
    data = encoded(noise.convert("RGB" if mode == "turned" else mode), "JPEG", **options)
    file = Image.open(io.BytesIO(data))
    file.draft(None, (83 // factor, 61 // factor))
    want = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
    got = read_image(data, min_px=61 // factor)
    np.testing.assert_array_equal(got, want)
    height, width = -(-61 // factor), -(-83 // factor)
    assert got.shape[:2] == ((width, height) if mode == "turned" else (height, width))


def test_only_jpegs_are_reduced() -> None:
    assert read_image(encoded(Image.fromarray(BLOCKS)), min_px=4).shape == BLOCKS.shape


def test_reducing_averages_and_does_not_skip_pixels() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    got = read_image(encoded(Image.fromarray(stripes), "JPEG", quality=95), min_px=16)
    assert got.shape == (16, 16, 3)
    np.testing.assert_allclose(got[2:-2, 2:-2], 127.5, atol=6)


def test_the_content_decides_not_the_extension(tmp_path) -> None:
    for kind, name in (("PNG", "x.jpg"), ("JPEG", "x.png"), ("GIF", "x.txt")):
        path = tmp_path / name
        path.write_bytes(encoded(Image.fromarray(BLOCKS), kind))
        assert np.abs(read_image(path).astype(int) - BLOCKS).mean() < 16


def test_a_fault_that_pillow_forgives_is_forgiven() -> None:
    """Bytes behind the data, as many cameras write them."""
    data = encoded(Image.fromarray(BLOCKS), "JPEG")
    want = read_image(data)
    for fault in (data + b"trailer", data[:-2] + b"\x00\x00\x00" + data[-2:]):
        np.testing.assert_array_equal(read_image(fault), want)
