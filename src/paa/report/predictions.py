"""The files of a prediction: every image with its boxes drawn, all detections as JSON, and what was left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from paa.data.images.read import read_image
from paa.data.images.rgb import Rgb
from paa.data.left_out import LEFT_OUT
from paa.detections import Detections
from paa.errors import ConfigError, ImageError
from paa.report.drawing import draw_detections
from paa.report.json_list import JsonListFile
from paa.runtime.files import check_folder, whole_file, write_text

Detect = Callable[[Sequence[Rgb]], Iterable[tuple[Rgb, Detections]]]
"""Gives the detections of each image, in the order given: `engine.predict.predict` of some detector and options."""

_LONGEST_JPEG = 65_500
_PIXELS_AHEAD = 100_000_000  # of the images that are read before their batches are chosen: 300 MB
_BATCHES_AHEAD = 8


class Written(NamedTuple):
    """What `write_predictions` wrote: the number of objects in each image that was read, and, in words that name the
    file and what is wrong with it, each image that was not."""

    counts: list[int]
    left_out: list[str]


def write_predictions(
    detect: Detect,
    paths: Sequence[Path],
    folder: Path,
    *,
    threshold: float = 0.3,
    batch_size: int = 1,
    listen: Callable[[Path, int], object] = lambda path, count: None,
) -> Written:
    """Write each image, drawn, and detections.json to `folder`, each when it is done; go through all of them.

    threshold: least score that is drawn and written. batch_size: of `detect`, which is given some batches at a time.
    listen: is called with each image and its number of objects when its files are written.
    detections.json is a list of {file, drawn, width, height, detections: [{box: xyxy, score, label, name}]}, whole
    after every image. An image that cannot be read is left out, and named in left_out.txt.
    ConfigError for a threshold outside 0..1, and where a drawing would take the place of one of the images; ImageError,
    with nothing written, if none of them can be read; RunError for a file that cannot be written: those before it stay.
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"the threshold must be from 0 to 1, got {threshold}")
    check_folder(folder)
    names = _drawn_names(paths)
    lost = {path.resolve() for path in paths} & {(folder / name).resolve() for name in names}
    if lost:
        raise ConfigError(f"{min(lost)}: would be overwritten by its drawing; give another --output")
    counts: list[int] = []
    left_out: list[str] = []
    listed = 0
    with ExitStack() as stack:
        records: JsonListFile | None = None
        for positions, images in _read_ahead(paths, batch_size, left_out):
            for i, (image, detections) in zip(positions, detect(images)):
                if records is None:  # the folder is not made before there is something to put in it
                    records = stack.enter_context(_start(folder))
                kept = detections.above(threshold)
                _save_drawing(draw_detections(image, kept, threshold), folder / names[i])
                height, width = image.shape[:2]
                about = {"file": str(paths[i]), "drawn": names[i], "width": width, "height": height}
                records.append({**about, "detections": kept.to_dicts()})
                counts.append(len(kept))
                listen(paths[i], len(kept))
            if records is not None and len(left_out) > listed:
                write_text(folder / LEFT_OUT, "".join(f"{line}\n" for line in left_out))
                listed = len(left_out)
    if left_out and not counts:
        what = f"none of the {len(paths)} images can be read; the first: " if len(paths) > 1 else ""
        raise ImageError(what + left_out[0])
    return Written(counts, left_out)


def _start(folder: Path) -> JsonListFile:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LEFT_OUT).unlink(missing_ok=True)  # of an earlier run
    return JsonListFile(folder / "detections.json")


def _read_ahead(paths: Sequence[Path], batch_size: int, left_out: list[str]) -> Iterator[tuple[list[int], list[Rgb]]]:
    """Yield images, some batches at a time and not too many pixels, with their positions; note those left out."""
    most = batch_size * _BATCHES_AHEAD if batch_size > 1 else 1
    positions: list[int] = []
    images: list[Rgb] = []
    pixels = 0
    for i, path in enumerate(paths):
        try:
            image = read_image(path)
        except ImageError as error:
            left_out.append(str(error))
            continue
        positions.append(i)
        images.append(image)
        pixels += image.shape[0] * image.shape[1]
        if len(images) >= most or pixels >= _PIXELS_AHEAD:
            yield positions, images
            positions, images, pixels = [], [], 0
    yield positions, images  # the last; without any, so that what was left out since is noted


def _save_drawing(drawing: Image.Image, path: Path) -> None:
    """Save a drawing as JPEG, whole or not at all; smaller where it is longer than a JPEG can be."""
    drawing.thumbnail((_LONGEST_JPEG, _LONGEST_JPEG))
    buffer = BytesIO()
    drawing.save(buffer, "JPEG", quality=92)
    with whole_file(path, durable=False) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _drawn_names(images: Sequence[Path]) -> list[str]:
    """Return a file name for each, no two alike though images of different folders may share theirs."""
    names: dict[str, None] = {}
    numbers: dict[str, int] = {}  # of the last of each stem
    for path in images:
        name, number = f"{path.stem}.jpg", numbers.get(path.stem, 1)
        while name in names:
            number += 1
            name = f"{path.stem}-{number}.jpg"
        names[name] = None
        numbers[path.stem] = number
    return list(names)
