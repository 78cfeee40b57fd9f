from __future__ import annotations

import io
import logging
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from paa.data.images.decoders import limit_pixels
from paa.data.images.read import as_rgb, read_image, read_size
from paa.errors import ConfigError, ImageError

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def smooth(size: tuple[int, int]) -> Image.Image:
    """Return an image (height, width) whose rows differ."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC)


def error_of(path: Path, size: tuple[int, int] | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(path, size)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_rgb_is_read_as_it_is(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(RGB))
    rgb = read_image(path, (20, 30))
    assert rgb.dtype == np.uint8
    assert rgb.flags.writeable
    np.testing.assert_array_equal(rgb, RGB)


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_and_palette(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    rgb = read_image(save(tmp_path / "a.png", image))
    np.testing.assert_array_equal(rgb, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (30, 20), (10, 10, 10, 0) if mode == "RGBA" else (10, 0))
    image.paste((10, 10, 10, 255) if mode == "RGBA" else (10, 255), (0, 0, 15, 20))
    rgb = read_image(save(tmp_path / "a.png", image))
    assert (rgb[:, :15] == 10).all()
    assert (rgb[:, 15:] == 255).all()


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparent_colour(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (30, 20))
    if mode == "P":
        image.putpalette([0, 0, 0, 200, 0, 0])
    one = (1, 1, 1) if mode == "RGB" else 1
    image.paste(one, (0, 0, 15, 20))
    rgb = read_image(save(tmp_path / "a.png", image, transparency=(0, 0, 0) if mode == "RGB" else 0))
    assert (rgb[:, 15:] == 255).all()
    assert (rgb[0, 0] == ([200, 0, 0] if mode == "P" else [1, 1, 1])).all()


def test_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    colour = Image.new("RGB", (32, 32), (200, 40, 40)).convert("CMYK")  # Pillow writes Adobe's inverted form
    rgb = read_image(save(tmp_path / "a.jpg", colour, quality=95))
    assert np.abs(rgb.astype(int) - (200, 40, 40)).max() < 12


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, dtype: type) -> None:
    values = np.linspace(0, 65535, 600).reshape(20, 30).astype(dtype)
    suffix = "png" if dtype is np.uint16 else "tif"
    rgb = read_image(save(tmp_path / f"a.{suffix}", Image.fromarray(values)))
    np.testing.assert_array_equal(rgb, np.repeat(np.rint(values / 257)[:, :, None], 3, axis=2))


def test_12_bit_grey_is_scaled(tmp_path: Path) -> None:
    """Which Pillow opens as 16 bits of which the upper four are empty; it cannot write such a file."""
    values = np.array([[0, 4095, 2048, 1]], np.uint16)
    packed = bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x01])
    tags = [(256, 4), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, len(packed))]
    path = tmp_path / "a.tif"
    path.write_bytes(
        struct.pack("<2sHI", b"II", 42, 8 + len(packed))
        + packed
        + struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        + struct.pack("<I", 0)
    )
    np.testing.assert_array_equal(read_image(path)[:, :, 0], np.rint(values / 4095 * 255))


def test_16_bit_grey_with_a_transparent_value_lies_on_white(tmp_path: Path) -> None:
    values = np.array([[0, 1000], [65535, 1000]], np.uint16)
    path = save(tmp_path / "a.png", Image.fromarray(values), transparency=1000)
    assert read_image(path)[:, :, 0].tolist() == [[0, 255], [255, 255]]


def test_16_bit_colour_png(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">6H", 65535, 0, 32896, 0, 65535, 257)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(read_image(path), [[[255, 0, 128], [0, 255, 1]]])


def test_float_tiff(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    rgb = read_image(save(tmp_path / "a.tif", Image.fromarray(values)))
    np.testing.assert_array_equal(rgb[:, :, 1], np.rint(values * 255))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :16] = 255  # top left as stored
    exif = Image.Exif()
    exif[274] = orientation
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(pixels), exif=exif)
    size = (48, 32) if orientation >= 5 else (32, 48)
    rgb = read_image(path, size)
    assert read_size(path) == size
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert (rgb[y, x].mean() > 128) == ((y, x) == corner[orientation])


def test_damaged_exif_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(RGB).save(path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff junk")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_image(path).shape == RGB.shape
        assert read_size(path) == (20, 30)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert (read_image(path)[0, 0] == (255, 0, 0)).all()


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif", "gif"])
def test_half_a_file(tmp_path: Path, suffix: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix)
    )
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    error_of(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_one_warning_of_a_missing_end(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "paa")
    path = save(tmp_path / f"a.{suffix}", smooth((60, 80)))
    whole = read_image(path)
    path.write_bytes(path.read_bytes()[:-30])  # a PNG without its last 12 bytes lacks nothing
    for _ in range(3):
        rgb = read_image(path, (60, 80))
        assert rgb.flags.writeable
        assert np.abs(rgb[:40].astype(int) - whole[:40]).max() <= 1
    (message,) = caplog.messages
    assert message.startswith(f"{path}: the end of the file is missing")
    assert "; the rest is used" in message


def test_a_turned_image_whose_end_is_missing(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    path = save(tmp_path / "a.jpg", smooth((60, 80)), exif=exif)
    whole = read_image(path)
    path.write_bytes(path.read_bytes()[:-2])
    np.testing.assert_array_equal(read_image(path, (80, 60)), whole)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_give_an_image_or_an_image_error(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, ["PNG", "JPEG", "GIF", "TIFF", "WEBP"][seed % 5])
    data = np.frombuffer(buffer.getvalue(), np.uint8).copy()
    places = random.integers(0, len(data), 8)
    data[places] = random.integers(0, 256, 8)
    path = tmp_path / "a.jpg"
    path.write_bytes(data.tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert read_image(path).shape[2] == 3
        except ImageError:
            error_of(path)


def test_no_file(tmp_path: Path) -> None:
    assert error_of(tmp_path / "b.jpg").endswith("no such image")
    assert error_of(tmp_path).endswith("a folder, not an image")


@pytest.mark.parametrize("url", ["https://example.com/a%20b.jpg?x=1", "http://example.com/a.jpg", "s3://bucket/a.png"])
def test_a_url_is_no_path(url: str) -> None:
    for source in (url, Path(url)):
        with pytest.raises(ImageError) as caught:
            as_rgb(source)
        assert str(caught.value) == f"{url}: a URL, not a path: download it first"


@pytest.fixture
def _limit_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAA_MAX_PIXELS", raising=False)


@pytest.mark.usefixtures("_limit_is_reset")
def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(RGB))
    monkeypatch.setenv("PAA_MAX_PIXELS", "599")
    says = "has 600 pixels (30 x 20), more than the limit of 599: --max-pixels 600 reads it"
    assert f"a.png: {says}" in error_of(path)
    with pytest.raises(ImageError, match=re.escape(says)):
        read_size(path)
    limit_pixels(600)
    assert read_image(path).shape == RGB.shape
    assert read_size(path) == (20, 30)
    limit_pixels(None)
    assert read_image(path).shape == RGB.shape


@pytest.mark.usefixtures("_limit_is_reset")
def test_invalid_pixel_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(RGB))
    with pytest.raises(ConfigError, match="--max-pixels must be at least 1, got 0"):
        limit_pixels(0)
    for value in ("many", "-3", "0", "1e9"):
        monkeypatch.setenv("PAA_MAX_PIXELS", value)
        for read in (read_image, read_size):
            with pytest.raises(ConfigError, match="PAA_MAX_PIXELS must be a whole number above 0, got"):
                read(path)


@pytest.mark.usefixtures("_limit_is_reset")
def test_pillows_own_limit_does_not_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow gives no error and, from half of its limit on, no warning; the limit that a program set is kept."""
    path = save(tmp_path / "a.png", Image.fromarray(RGB))
    for pixels in (590, 100):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read_image(path).shape == RGB.shape
            assert read_size(path) == (20, 30)
        assert pixels == Image.MAX_IMAGE_PIXELS


@pytest.mark.skipif(PIL.__version__ < "13", reason="WebP's decoder checks the limit since Pillow 13")
@pytest.mark.usefixtures("_limit_is_reset")
def test_a_raised_limit_holds_for_decoders_that_check_pillows_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.webp", Image.fromarray(RGB), lossless=True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "pixels than the limit of 178,956,970: --max-pixels N reads it" in error_of(path)
    limit_pixels(200_000_000)
    np.testing.assert_array_equal(read_image(path), RGB)


def test_other_size_than_annotated(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(RGB))
    message = error_of(path, (30, 20))
    assert "20 high and 30 wide" in message
    assert "30 high and 20 wide" in message


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_the_size_of_an_image_whose_end_is_missing(tmp_path: Path, suffix: str) -> None:
    file = save(tmp_path / f"a{suffix}", smooth((64, 48)))
    file.write_bytes(file.read_bytes()[:-9])
    assert read_size(file) == (64, 48)
    assert read_image(file).shape == (64, 48, 3)


def test_the_size_of_a_file_that_is_mostly_missing(tmp_path: Path) -> None:
    file = tmp_path / "a.webp"
    file.write_bytes(save(tmp_path / "b.webp", smooth((64, 48))).read_bytes()[:40])
    with pytest.raises(ImageError, match=r"a\.webp: cannot be read"):
        read_size(file)
    file.write_bytes(b"\xff\xd8")  # how a JPEG begins
    with pytest.raises(ImageError, match="not an image of a known format"):
        read_size(file)
