"""The files of a prediction: all detections as JSON, the outputs that are asked for, and what was left out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

from paa.config import FetchConfig, InferenceConfig, PredictionOutput
from paa.data.images.rgb import Rgb
from paa.data.left_out import LEFT_OUT
from paa.data.read_report import printable
from paa.detections import Detections
from paa.errors import ConfigError, ImageError
from paa.inference.earlier import RECORDS, has_records, is_drawing, named_drawings
from paa.inference.predict import predict
from paa.inference.sources import Named, NamedImage, images_of
from paa.model.detector import Detector
from paa.report.json_list import JsonListFile
from paa.report.outputs import coco, csv_file, parquet, yolo
from paa.report.outputs.drawings import drawings
from paa.report.outputs.entry import Entry, Output, Write, drawn_name
from paa.runtime.files import check_folder, write_text

_OUTPUTS: dict[PredictionOutput, Output] = {
    "images": drawings,
    "coco": coco.coco_results_file,
    "yolo": yolo.yolo_labels,
    "csv": csv_file.csv_rows,
    "parquet": parquet.parquet_rows,
}
_FILES: dict[PredictionOutput, tuple[str, ...]] = {
    "coco": ("results.json",),
    "yolo": ("classes.txt", "labels"),
    "csv": ("detections.csv",),
    "parquet": ("detections.parquet",),
}
"""What an output writes, but for drawings, whose names are compared with those of the images."""
_WROTE: dict[PredictionOutput, Callable[[Path], bool]] = {
    "coco": coco.wrote,
    "yolo": yolo.wrote,
    "csv": csv_file.wrote,
    "parquet": parquet.wrote,
}
"""Whether the files of an output that are in a folder are those of an earlier prediction."""


class Written(NamedTuple):
    """What `write_predictions` wrote.

    counts: the number of objects in each image that was read, and in each frame. left_out: for each image that was not,
    and for each video of which a part was not, a line with its file and what is wrong with it.
    """

    counts: list[int]
    left_out: list[str]


def write_predictions(
    detector: Detector,
    sources: Sequence[Named],
    folder: Path,
    inference: InferenceConfig = InferenceConfig(),
    *,
    batch_size: int = 1,
    every: int = 1,
    limits: FetchConfig = FetchConfig(),
    save: Sequence[PredictionOutput] = ("images",),
    keep: Callable[[Detections], Detections] = lambda detections: detections,
    listen: Callable[[Entry], object] = lambda entry: None,
) -> Written:
    """Detect in images and videos, and write each image's outputs and its entry in detections.json to `folder` when it
    is done.

    every: of a video, each so-many-th frame. limits: of what is fetched from URLs. save: the outputs beside
    detections.json. keep: chooses among an image's detections, as `paa.inference.keep.Keep`. listen: is called with
    each image when its files are written.
    detections.json is a list of {file, drawn, width, height, detections: [{box: xyxy, score, label, name}]}, valid JSON
    after every image; `drawn` is None if no images are saved; each frame of a video has an entry, with its `frame` and
    `time` after `file`. An image that cannot be read is left out, and named in left_out.txt.
    ConfigError where a drawing would take the place of one of the images, or any output that of a file that no earlier
    prediction wrote, or where labels for YOLO would join those of other classes or replace those that a person changed;
    ImageError, with nothing written, if none of the images can be read; RunError for a file that cannot be written:
    those before it stay.
    """
    check_folder(folder)
    if every < 1:
        raise ConfigError(f"--every must be at least 1, got {every}")
    names = _unique_names([named.stem for named in sources])
    draws = "images" in save
    if "parquet" in save:
        parquet.check_pyarrow()
    given = {Path(named.name).resolve() for named in sources if named.kind in ("image", "video")}
    drawn = {folder / drawn_name(name, named.of_frames) for named, name in zip(sources, names) if draws}
    if lost := given & {path.resolve() for path in drawn}:
        raise ConfigError(f"{min(lost)}: would be overwritten by its drawing; give another --output")
    _check_not_somebody_elses(folder, drawn, save)
    if "yolo" in save:
        yolo.check_earlier(folder, detector.names)
    counts: list[int] = []
    left_out: list[str] = []
    listed = 0
    read: deque[tuple[Named, str, NamedImage]] = deque()  # each image that is read and not written yet, and its name

    def images() -> Generator[Rgb, None, None]:
        for named, name in zip(sources, names):
            try:
                for image in images_of(named, every, limits):
                    read.append((named, name, image))
                    yield image.image
            except ImageError as error:
                left_out.append(printable(str(error)))

    with ExitStack() as stack:
        records: JsonListFile | None = None
        writers: list[Write] = []
        given_images = stack.enter_context(closing(images()))
        for _, detections in predict(detector, given_images, inference, batch_size=batch_size):
            named, name, of = read.popleft()
            entry = Entry(named.name, name, of.image, keep(detections), of.frame, of.time)
            if records is None:  # the folder is not made before there is something to put in it
                records = stack.enter_context(_start(folder))
                writers = [
                    stack.enter_context(_OUTPUTS[output](folder, detector.names)) for output in dict.fromkeys(save)
                ]
            for write in writers:
                write(entry)
            records.append(_record(entry, draws))
            counts.append(len(entry.detections))
            listen(entry)
            listed = _list_left_out(folder, left_out, listed)
    if left_out and not counts:
        what = f"none of the {len(sources)} images can be read; the first: " if len(sources) > 1 else ""
        raise ImageError(what + left_out[0])
    _list_left_out(folder, left_out, listed)
    return Written(counts, left_out)


def _check_not_somebody_elses(folder: Path, drawn: Collection[Path], save: Collection[PredictionOutput]) -> None:
    """Raise ConfigError where outputs would overwrite files that no prediction wrote: images, or a data set's labels.

    drawn: the drawings to be written. Where detections.json is no prediction's, nothing beside it is.
    """
    ours = has_records(folder)
    named = [] if ours else [RECORDS, LEFT_OUT]
    for output, files in _FILES.items():
        if output in save and not (ours and _WROTE[output](folder)):
            named += files
    there = [folder / name for name in sorted(named) if (folder / name).exists()]
    if existing := sorted(path for path in drawn if path.exists()):
        earlier = named_drawings(folder)  # some have no comment: those of earlier versions
        there += [path for path in existing if path.resolve() not in earlier and not is_drawing(path)]
    if there:
        raise ConfigError(f"{there[0]}: is not of an earlier prediction; give another --output")


def _record(entry: Entry, draws: bool) -> dict[str, Any]:
    """Return an image's entry in detections.json."""
    height, width = entry.image.shape[:2]
    moment = {} if entry.frame is None else {"frame": entry.frame, "time": entry.time}
    about = {"file": entry.file, **moment, "drawn": entry.drawn if draws else None, "width": width, "height": height}
    return {**about, "detections": entry.detections.to_dicts()}


def _start(folder: Path) -> JsonListFile:
    """Make the folder, without the left_out.txt of an earlier run, and begin its detections.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LEFT_OUT).unlink(missing_ok=True)
    return JsonListFile(folder / RECORDS)


def _list_left_out(folder: Path, left_out: list[str], listed: int) -> int:
    """Write left_out.txt if there are more lines than the `listed` ones in it; return how many lines it has then."""
    if len(left_out) > listed:
        write_text(folder / LEFT_OUT, "".join(f"{line}\n" for line in left_out))
    return len(left_out)


def _unique_names(stems: Sequence[str]) -> list[str]:
    """Return a unique name for each image's files; images in different folders may have the same name."""
    names: dict[str, None] = {}
    numbers: dict[str, int] = {}  # the last number given to each stem
    for stem in stems:
        name, number = stem, numbers.get(stem, 1)
        while name in names:
            number += 1
            name = f"{stem}-{number}"
        names[name] = None
        numbers[stem] = number
    return list(names)
