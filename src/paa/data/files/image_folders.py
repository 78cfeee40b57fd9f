"""Folders of images: their usual names, and the images in them."""

from __future__ import annotations

from pathlib import Path

from paa.data.files.boundary import outside, refused_in
from paa.data.files.folders import files_in, names_ending
from paa.data.images.decoders import HEIF_SUFFIXES, decodable_suffixes, undecodable_suffixes
from paa.data.read_report import ReadReport, first_few
from paa.errors import ImageError

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


def leave_out_links(folder: Path, report: ReadReport, *, recursive: bool = True) -> None:
    """Leave out the images, and folders, that links in a folder of images that was listed lead to outside.

    Raises ImageError for the first, as `ReadReport.leave_out`.
    """
    links = [link for link in refused_in(folder, recursive=recursive) if _may_hold_images(Path(link), recursive)]
    for link in links:
        more = f" (and {len(links) - 1} more links do)" if len(links) > 1 and not report.skip_bad else ""
        report.leave_out(f"{link} {outside(link)}{more}", ImageError)


def _may_hold_images(link: Path, recursive: bool) -> bool:
    visible = not link.name.startswith(".")
    return visible and (
        (recursive and link.is_dir()) or link.suffix.lower() in decodable_suffixes() | undecodable_suffixes()
    )


def holds_images(folder: Path) -> bool:
    """Return whether images are directly in the folder."""
    return bool(names_ending(folder, decodable_suffixes()))
