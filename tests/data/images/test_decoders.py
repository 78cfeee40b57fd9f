from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, features

from paa.data.images import decoders
from paa.data.images.decoders import SUFFIXES, decodable_suffixes, undecodable_suffixes
from paa.data.images.read import read_image, read_size

FORMATS = {".jfif": "JPEG", ".jpe": "JPEG", ".jp2": "JPEG2000", ".j2k": "JPEG2000", ".avif": "AVIF", ".pbm": "PPM"}


@pytest.fixture
def _heif_is_registered_again() -> Iterator[None]:
    decoders._register_heif.cache_clear()
    yield
    decoders._register_heif.cache_clear()


@pytest.mark.parametrize("suffix", sorted(decodable_suffixes() & SUFFIXES))
def test_each_decodable_suffix_is_decoded(tmp_path: Path, suffix: str) -> None:
    colours = Image.new("RGB", (32, 24), (200, 40, 40))
    path = tmp_path / f"a{suffix}"
    (colours.convert("1") if suffix == ".pbm" else colours).save(path, FORMATS.get(suffix))
    assert read_size(path) == (24, 32)
    rgb = read_image(path, (24, 32))
    if suffix not in (".pbm", ".pgm"):
        assert np.abs(rgb.astype(int) - (200, 40, 40)).max() < 15


@pytest.mark.usefixtures("_heif_is_registered_again")
def test_suffixes_follow_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    assert {".jpg", ".jfif", ".png"} <= decodable_suffixes() <= SUFFIXES
    assert {".heic", ".heif", ".jxl", ".nef"} <= undecodable_suffixes()
    assert not decodable_suffixes() & undecodable_suffixes()
    check = features.check
    monkeypatch.setattr(features, "check", lambda name: name != "avif" and check(name))
    assert ".avif" not in decodable_suffixes()
    assert ".avif" in undecodable_suffixes()


@pytest.mark.usefixtures("_heif_is_registered_again")
def test_an_installed_heic_plug_in_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic a stand-in")
    for registry in ("OPEN", "ID"):
        monkeypatch.setattr(Image, registry, type(getattr(Image, registry))(getattr(Image, registry)))

    def register() -> None:
        Image.register_open("HEIF", lambda file, name: Image.new("RGB", (8, 6), "red"), lambda start: b"heic" in start)

    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    assert (read_image(path, (6, 8)) == (255, 0, 0)).all()
    assert {".heic", ".heif"} <= decodable_suffixes()


def test_a_decoder_without_its_library_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4), "red").save(path)
    factory, _ = Image.OPEN["GIF"]
    monkeypatch.setitem(Image.OPEN, "GIF", (factory, lambda start: "needs a library"))
    assert (read_image(path) == (255, 0, 0)).all()
