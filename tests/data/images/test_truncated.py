"""Repaired files against the whole ones: of drawn images and, where these are available, of real photos."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from paa.data.images.decoders import open_image
from paa.data.images.truncated import repair

PHOTOS = Path(__file__).parents[4] / "shared" / "data"


def texture(height: int = 240, width: int = 320) -> Image.Image:
    """Return an image that is rich in detail everywhere, so that its bytes are spread over its rows."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((width, height))
    noise = random.integers(-20, 20, (height, width, 1))
    return Image.fromarray(np.clip(np.asarray(coarse).astype(int) + noise, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> npt.NDArray[np.int64]:
    with open_image(data) as image:
        return np.asarray(image.convert("RGB")).astype(np.int64)


KINDS: dict[str, dict[str, Any]] = {
    "baseline": {"format": "JPEG", "quality": 90},
    "progressive": {"format": "JPEG", "quality": 90, "progressive": True},
    "restarts": {"format": "JPEG", "quality": 90, "restart_marker_rows": 1},
    "grey": {"format": "JPEG", "quality": 90},
    "PNG": {"format": "PNG"},
    "WebP": {"format": "WEBP", "quality": 90},
    "WebP, lossless": {"format": "WEBP", "lossless": True},
}


def whole_file(kind: str) -> bytes:
    return encoded(texture().convert("L") if kind == "grey" else texture(), **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [1, 2, 3, 20, 200])
def test_a_few_bytes(kind: str, cut: int) -> None:
    data = whole_file(kind)
    repaired = repair(data[:-cut])
    if repaired is None:  # all that is missing is padding, which no decoder minds
        np.testing.assert_array_equal(pixels(data[:-cut]), pixels(data))
        return
    assert 0 <= repaired.lost < 0.15
    shown, whole = pixels(repaired.data), pixels(data)
    assert shown.shape == whole.shape
    rows = np.flatnonzero(np.abs(shown - whole).max(axis=(1, 2)) > 60)
    assert not len(rows) or rows[0] >= 0.85 * len(whole)


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"quality": 95}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("cut", [5, 30, 100])
def test_a_few_bytes_of_a_small_jpeg(mode: str, options: dict[str, Any], cut: int) -> None:
    """With three rows of blocks, a missing part of the last row must not count as a third of the image."""
    data = encoded(texture(48, 64).convert(mode), "JPEG", **options)
    repaired = repair(data[:-cut])
    assert repaired is not None
    assert 0 <= repaired.lost <= 0.25
    differ = np.abs(pixels(repaired.data) - pixels(data)).max(axis=2) > 60
    assert differ.mean() <= repaired.lost + 0.02


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", [0.5, 0.3, 0.1])
def test_a_large_part(kind: str, left: float) -> None:
    data = whole_file(kind)
    assert repair(data[: int(left * len(data))]) is None


@pytest.mark.parametrize("kind", ["baseline", "progressive", "restarts", "grey"])
def test_a_large_part_of_a_jpeg_wherever_it_is_cut(kind: str) -> None:
    data = whole_file(kind)
    ends = [place + 1 for place in range(len(data) // 2) if data[place] == 255]  # most are half of an escaped byte
    assert len(ends) > 20
    assert [end for end in ends if repair(data[:end]) or repair(data[:end] + b"\0")] == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "progressive"])
def test_the_share_that_is_missing(kind: str) -> None:
    data = whole_file(kind)
    repaired = repair(data[: int(0.88 * len(data))])
    assert repaired is not None
    whole = pixels(data)
    differ = np.flatnonzero(np.abs(pixels(repaired.data) - whole).max(axis=(1, 2)) > 60)
    assert repaired.lost == pytest.approx(1 - differ[0] / len(whole), abs=0.07)
    assert 0.08 < repaired.lost < 0.2


def test_a_bmp_begins_with_its_last_row() -> None:
    data = encoded(texture(), "BMP")
    repaired = repair(data[: -20 * 3 * 320])
    assert repaired is not None
    assert repaired.lost == pytest.approx(20 / 240)
    np.testing.assert_array_equal(pixels(repaired.data)[20:], pixels(data)[20:])
    assert not pixels(repaired.data)[:20].any()
    for cut in (data[: len(data) // 2], data[:30], data[:10], data):
        assert repair(cut) is None


def test_grey_of_the_image_itself_does_not_count_as_missing() -> None:
    """Half of the image has the grey that decoders show where data is missing."""
    image = texture()
    image.paste((128, 128, 128), (0, 120, 320, 240))
    data = encoded(image, "JPEG", quality=90)
    repaired = repair(data[:-2])
    assert repaired is not None
    assert repaired.lost == 0
    np.testing.assert_array_equal(pixels(repaired.data), pixels(data))


def test_a_file_whose_end_is_zeros() -> None:
    data = whole_file("baseline")
    cut = int(0.95 * len(data))
    repaired = repair(data[:cut] + bytes(len(data) - cut))
    assert repaired is not None
    assert 0.01 < repaired.lost < 0.12
    cut = len(data) // 2
    assert repair(data[:cut] + bytes(len(data) - cut)) is None


def test_every_cut_of_a_progressive_jpeg_decodes_or_is_refused() -> None:
    data = encoded(texture(48, 64), "JPEG", quality=90, progressive=True)
    cuts = {cut: repair(data[:-cut]) for cut in range(1, len(data))}
    repaired = [cut for cut, file in cuts.items() if file is not None and pixels(file.data).size]
    assert set(range(1, 100)) <= set(repaired)
    assert max(repaired) < len(data) / 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_kinds_of_png(mode: str) -> None:
    grey = np.asarray(texture().convert("L"))
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else texture().convert(mode)
    data = encoded(image, "PNG")
    repaired = repair(data[: int(0.9 * len(data))])
    assert repaired is not None
    with open_image(repaired.data) as shown, open_image(data) as whole:
        assert shown.mode == whole.mode
        rows = int((1 - repaired.lost) * 240) - 1
        np.testing.assert_array_equal(np.asarray(shown)[:rows], np.asarray(whole)[:rows])
        assert rows > 180


def test_other_formats_and_whole_files_are_not_repaired() -> None:
    for format in ("GIF", "TIFF"):
        assert repair(encoded(texture(), format)[:-20]) is None
    assert repair(b"") is None
    for kind in KINDS:
        assert repair(whole_file(kind)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_bytes(kind: str) -> None:
    """Any bytes give a repaired file, None, or a decoder's OSError."""
    random = np.random.default_rng(0)
    data = np.frombuffer(whole_file(kind), np.uint8)
    for _ in range(60):
        damaged = data[: random.integers(8, len(data))].copy()
        places = (
            random.integers(8, len(damaged), 4) if random.random() < 0.5 else random.integers(8, 200, 4) % len(damaged)
        )
        damaged[places] = random.integers(0, 256, 4)
        try:
            repaired = repair(damaged.tobytes())
        except OSError:  # of a decoder
            continue
        assert repaired is None or 0 <= repaired.lost <= 0.25


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="no photos beside the repository (../shared/data)")
@pytest.mark.parametrize("progressive", [False, True])
def test_photos(progressive: bool) -> None:
    files = sorted(PHOTOS.glob("*/**/*.jpg"))[::60]
    assert len(files) > 10
    for file in files:
        data = file.read_bytes()
        if progressive:
            with Image.open(file) as image:
                data = encoded(image.convert("RGB"), "JPEG", progressive=True, quality=90)
        for cut in (1, 2, 20, 200):
            repaired = repair(data[:-cut])
            assert repaired is not None, file
            assert repaired.lost < 0.15, file
            assert pixels(repaired.data).shape == pixels(data).shape
        if not progressive:
            assert repair(data[: len(data) // 2]) is None, file
