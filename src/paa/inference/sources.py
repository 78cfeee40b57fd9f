"""What a person names to predict on: images as files, folders, URLs or in memory, video files and cameras."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
from PIL import Image
from torch import Tensor

from paa.config import FetchConfig
from paa.data.files.folders import files_in
from paa.data.images.decoders import decodable_suffixes, undecodable_suffixes
from paa.data.images.fetch import is_url, name_of, read_url
from paa.data.images.read import read_image
from paa.data.images.rgb import Rgb
from paa.data.video.frames import expected_frames, frames
from paa.data.video.recognise import SUFFIXES as VIDEO_SUFFIXES
from paa.data.video.recognise import camera_number, is_video
from paa.errors import DataError
from paa.inference.earlier import drawn_in
from paa.runtime.interrupt import interrupt_as_end
from paa.runtime.urls import nothing_at

Source = str | Path | Image.Image | npt.NDArray[Any] | Tensor
"""An image: a path, a PIL image, an array (H, W), (H, W, 3 or 4) or a tensor (3, H, W), of uint8 or of floats in 0..1.

Arrays and tensors are RGB (OpenCV's are BGR: `array[:, :, ::-1]`)."""


@dataclass(frozen=True)
class Named:
    """An image or a video by its name: a path, a URL or a camera, as the user wrote it or as it was found."""

    name: str
    kind: Literal["image", "url", "video", "camera"] = "image"

    @property
    def of_frames(self) -> bool:
        """Whether it has many images, with a time each."""
        return self.kind in ("video", "camera")

    @property
    def stem(self) -> str:
        """What files about it may be called, without a suffix."""
        if self.kind == "camera":
            return f"camera-{camera_number(self.name)}"
        return Path(name_of(self.name) if self.kind == "url" else self.name).stem


@dataclass(frozen=True, eq=False)
class NamedImage:
    """An image of a `Named`. frame, time: its number from 0 and its seconds in a video, None for an image by itself."""

    image: Rgb
    frame: int | None = None
    time: float | None = None


def images_of(named: Named, every: int = 1, limits: FetchConfig = FetchConfig()) -> Iterator[NamedImage]:
    """Yield the one image of an image, each `every`-th of a video, or those of a camera until Ctrl-C is pressed.

    ImageError if it cannot be read, or at the end, if a part of a video cannot be.
    """
    if named.kind == "image":
        yield NamedImage(read_image(Path(named.name)))
    elif named.kind == "url":
        yield NamedImage(read_url(named.name, limits))
    elif named.kind == "video":
        for frame in frames(Path(named.name), every):
            yield NamedImage(frame.image, frame.index, frame.time)
    else:
        with interrupt_as_end() as ended:
            for frame in frames(named.name, every):
                yield NamedImage(frame.image, frame.index, frame.time)
                if ended():
                    return


def expected_images(sources: Sequence[Named], every: int = 1) -> int | None:
    """Return how many images `images_of` will probably yield for all of these; None if a length is not known."""
    total = 0
    for named in sources:
        count = 1
        if named.of_frames:
            known = None if named.kind == "camera" else expected_frames(Path(named.name), every)
            if known is None:
                return None
            count = known
        total += count
    return total


def find_sources(given: Sequence[str], output: Path | None = None) -> list[Named]:
    """Return what each string names, in order: URLs and cameras by their form; files, folders and patterns as
    `find_images` does, with the video files among them.

    A file is a video by its suffix, or by its content where it has none of an image or a video. output: as there.
    """
    drawn = drawn_in(output)
    images = _image_suffixes()
    found: list[Named] = []
    for text in given:
        if is_url(text):
            found.append(Named(text, "url"))
        elif camera_number(text) is not None:
            found.append(Named(text, "camera"))
        else:
            files = _files(Path(text), images | VIDEO_SUFFIXES, drawn, ("image or video", "images or videos"))
            found.extend(
                Named(str(path), "video" if path.suffix.lower() not in images and is_video(path) else "image")
                for path in files
            )
    return found


def find_images(paths: Sequence[Path], output: Path | None = None) -> list[Path]:
    """Return the image files among the paths, and those in folders among them: at any depth, sorted, not hidden.

    A path that does not exist may be a pattern, as `photos/cam_*/*.jpg`, in which ** stands for folders at any depth.
    In a folder, and among what fits a pattern, the suffix decides what is an image, even if it cannot be decoded here.
    output: the folder for results, of which the drawings of an earlier run are not taken as images. DataError for a
    path that does not exist, and for a folder or a pattern without images.
    """
    drawn = drawn_in(output)
    suffixes = _image_suffixes()
    return [file for path in paths for file in _files(path, suffixes, drawn, ("image", "images"))]


def _files(path: Path, suffixes: frozenset[str], drawn: Callable[[Path], bool], what: tuple[str, str]) -> list[Path]:
    """Return the files that a path, folder or pattern stands for, in folders and patterns those with the suffixes.

    drawn: which are left out there. what: the words for one such file and for several, for messages.
    """
    if path.is_dir():
        inside = [p for p in files_in(path, recursive=True) if p.suffix.lower() in suffixes and not drawn(p)]
        if not inside:
            known = ", ".join(sorted(decodable_suffixes() | (suffixes & VIDEO_SUFFIXES)))
            raise DataError(f"{path}: no {what[1]} in this folder ({known})")
        return inside
    if path.is_file():
        return [path]
    if glob.has_magic(str(path)):
        # Path.glob takes no absolute pattern, and hidden files too
        fitting = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
        inside = [p for p in fitting if p.suffix.lower() in suffixes and p.is_file() and not drawn(p)]
        if not inside:
            raise DataError(f"{path}: no {what[0]} fits this pattern")
        return inside
    hint = f"; a camera is camera:{path}" if str(path).isdecimal() else ""
    raise DataError(nothing_at(path, "file or folder") + hint)


def _image_suffixes() -> frozenset[str]:
    return decodable_suffixes() | undecodable_suffixes()
