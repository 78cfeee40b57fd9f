"""Folders of images: their usual names, and the images in them."""

from __future__ import annotations

from pathlib import Path

from paa.data.files.folders import files_in, names_ending
from paa.data.images.decoders import HEIF_SUFFIXES, decodable_suffixes, undecodable_suffixes
from paa.data.read_report import ReadReport, first_few

IMAGE_FOLDERS = ("images", "jpegimages", "data", "image", "imgs", "img")
"""What folders of images are usually called, in lower case, whatever the format."""


def image_files(folder: Path, report: ReadReport, *, recursive: bool = False) -> list[Path]:
    """Return the images of a folder that can be decoded here, sorted; a warning counts those of other formats."""
    files = files_in(folder, recursive=recursive)
    known, unknown = decodable_suffixes(), undecodable_suffixes()
    others = [file for file in files if file.suffix.lower() in unknown]
    if others:
        heif = any(file.suffix.lower() in HEIF_SUFFIXES for file in others)
        hint = ", or for .heic: pip install pillow-heif" if heif else ""
        count = "1 file" if len(others) == 1 else f"{len(others)} files"
        report.warn(
            f"{folder}: {count} of a format that cannot be decoded here: {first_few(f.name for f in others)}; convert "
            f"{'it' if len(others) == 1 else 'them'}{hint}"
        )
    return [file for file in files if file.suffix.lower() in known]


def holds_images(folder: Path) -> bool:
    """Return whether images are directly in the folder."""
    return bool(names_ending(folder, decodable_suffixes()))
