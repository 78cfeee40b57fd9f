"""The images that a visitor of the page dropped, what was found in them, and what of that is shown."""

from __future__ import annotations

import io
import secrets
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from paa.data.images.rgb import Rgb
from paa.detections import Detections
from paa.drawing.boxes import draw_objects
from paa.drawing.jpeg import jpeg
from paa.inference.keep import keep_for
from paa.inference.prepared import Prepared
from paa.serve.images import decode_upload
from paa.serve.service import Service
from paa.serve.shapes import Predictions, image_result

_PREVIEW = 1600  # pixels of the longer side
_MOST_ALBUMS = 100


@dataclass(frozen=True)
class Choice:
    """What is shown: detections of at least this score, of these classes (all if empty), with voting or without."""

    threshold: float
    voting: bool
    classes: tuple[str, ...] = ()


class WaitedTooLongError(Exception):
    """The network had no time for the images."""


@dataclass(eq=False)
class _Photo:
    """A file that was dropped. size: (height, width). found: all detections, with voting and without, once known."""

    file: Path
    size: tuple[int, int]
    preview: bytes
    found: dict[bool, Detections] = field(default_factory=dict)


class Album:
    """Images, the detections in them, and the choice of what is shown; for one call at a time.

    Detections of all scores and classes are kept, so that the network works once for an image, and once more where
    voting is changed.
    """

    def __init__(self, service: Service, choice: Choice) -> None:
        self.choice = choice
        self._service, self._photos = service, list[_Photo]()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._photos)

    def add(self, files: Sequence[Path]) -> None:
        """Add image files, all or none. ImageError, QueueFullError, ClosedError or WaitedTooLongError otherwise."""
        with self._lock:
            photos, prepared = [], []
            for file in files:
                image = decode_upload(file.read_bytes(), file.name)
                photos.append(_Photo(file, (image.shape[0], image.shape[1]), _preview(image)))
                prepared.append(self._service.prepare(image))
                del image  # the largest of what is in memory
            self._detect(photos, prepared)
            self._photos.extend(photos)

    def choose(self, choice: Choice) -> None:
        """Change what is shown; raises as `add` if the network is needed for that."""
        with self._lock:
            missing = [photo for photo in self._photos if choice.voting not in photo.found]
            before, self.choice = self.choice, choice
            try:
                self._detect(missing, [self._service.prepare(_image(photo)) for photo in missing])
            except BaseException:
                self.choice = before
                raise

    def previews(self) -> list[tuple[Image.Image, str]]:
        """Return a drawing of each image, small enough for a page, and a line about it."""
        with self._lock:
            shown = []
            for photo in self._photos:
                found = self._shown(photo)
                with Image.open(io.BytesIO(photo.preview)) as preview:
                    drawing = _drawn(preview, photo.size, found)
                count = "1 object" if len(found) == 1 else f"{len(found)} objects"
                shown.append((drawing, f"{photo.file.name}: {count}"))
            return shown

    def results(self) -> Predictions:
        """Return what is shown as the endpoint would."""
        with self._lock:
            return Predictions(
                images=[image_result(photo.file.name, photo.size, self._shown(photo)) for photo in self._photos]
            )

    def drawings(self) -> tuple[str, bytes]:
        """Return a file of the drawings in full size, and its name: a JPEG, or a zip archive of several.

        ImageError, or OSError, if a dropped file is there no more.
        """
        with self._lock:
            drawn = [(f"{photo.file.stem}_detections.jpg", self._drawing(photo)) for photo in self._photos]
        if len(drawn) == 1:
            return drawn[0]
        archive, names = io.BytesIO(), set[str]()
        with zipfile.ZipFile(archive, "w") as file:
            for number, (name, data) in enumerate(drawn, 1):
                while name in names:
                    name = f"{number}_{name}"
                file.writestr(name, data)
                names.add(name)
        return "detections.zip", archive.getvalue()

    def _detect(self, photos: Sequence[_Photo], prepared: Sequence[Prepared]) -> None:
        """Detect in images as the choice says, and keep what is found."""
        futures = self._service.submit(prepared, self.choice.voting)
        if wait(futures, self._service.limits.timeout).not_done:
            for future in futures:
                future.cancel()
            raise WaitedTooLongError
        for photo, future in zip(photos, futures):
            photo.found[self.choice.voting] = future.result()

    def _shown(self, photo: _Photo) -> Detections:
        keep = keep_for(self._service.names, self.choice.threshold, classes=self.choice.classes)
        return keep(photo.found[self.choice.voting])

    def _drawing(self, photo: _Photo) -> bytes:
        return jpeg(_drawn(Image.fromarray(_image(photo)), photo.size, self._shown(photo)))


class Albums:
    """The albums of all visitors, by a name that nobody guesses; the oldest are forgotten."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._albums: OrderedDict[str, Album] = OrderedDict()
        self._lock = threading.Lock()

    def new(self, choice: Choice) -> tuple[str, Album]:
        """Return the name of an empty album, and the album."""
        name, album = secrets.token_urlsafe(16), Album(self._service, choice)
        with self._lock:
            self._albums[name] = album
            while len(self._albums) > _MOST_ALBUMS:
                self._albums.popitem(last=False)
        return name, album

    def find(self, name: str) -> Album | None:
        """Return the album of a name; None if it is unknown or forgotten."""
        with self._lock:
            if name in self._albums:
                self._albums.move_to_end(name)
            return self._albums.get(name)


def _image(photo: _Photo) -> Rgb:
    return decode_upload(photo.file.read_bytes(), photo.file.name)


def _preview(image: Rgb) -> bytes:
    small = Image.fromarray(image)
    small.thumbnail((_PREVIEW, _PREVIEW))
    return jpeg(small)


def _drawn(image: Image.Image, size: tuple[int, int], found: Detections) -> Image.Image:
    """Return an image with detections drawn on it. size: (height, width) to which their boxes belong."""
    across, down = image.width / size[1], image.height / size[0]
    boxes = found.boxes * np.array([across, down, across, down], np.float32)
    return draw_objects(image, boxes, found.labels, found.captions())
