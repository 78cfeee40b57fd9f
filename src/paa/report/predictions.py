"""The files of a prediction: all detections as JSON, the outputs that are asked for, and the images left out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from paa.config import InferenceConfig, PredictionOutput
from paa.data.images.read import read_image
from paa.data.images.rgb import Rgb
from paa.data.left_out import LEFT_OUT
from paa.detections import Detections
from paa.errors import ConfigError, ImageError
from paa.inference.predict import predict
from paa.model.detector import Detector
from paa.report.json_list import JsonListFile
from paa.report.outputs.coco import coco_results_file
from paa.report.outputs.csv_file import csv_rows
from paa.report.outputs.drawings import drawings
from paa.report.outputs.entry import Entry, Output, Write
from paa.report.outputs.parquet import check_pyarrow, parquet_rows
from paa.report.outputs.yolo import yolo_labels
from paa.runtime.files import check_folder, write_text

_OUTPUTS: dict[PredictionOutput, Output] = {
    "images": drawings,
    "coco": coco_results_file,
    "yolo": yolo_labels,
    "csv": csv_rows,
    "parquet": parquet_rows,
}


class Written(NamedTuple):
    """What `write_predictions` wrote.

    counts: the number of objects in each image that was read. left_out: for each image that was not, a line with its
    file and what is wrong with it.
    """

    counts: list[int]
    left_out: list[str]


def write_predictions(
    detector: Detector,
    paths: Sequence[Path],
    folder: Path,
    inference: InferenceConfig = InferenceConfig(),
    *,
    batch_size: int = 1,
    save: Sequence[PredictionOutput] = ("images",),
    keep: Callable[[Detections], Detections] = lambda detections: detections,
    listen: Callable[[Path, int], object] = lambda path, count: None,
) -> Written:
    """Detect in images, and write each one's outputs and its entry in detections.json to `folder` when it is done.

    save: the outputs beside detections.json. keep: chooses among an image's detections, as `paa.inference.keep.Keep`.
    listen: is called with each image and its number of objects when its files are written.
    detections.json is a list of {file, drawn, width, height, detections: [{box: xyxy, score, label, name}]}, valid JSON
    after every image; `drawn` is None if no images are saved. An image that cannot be read is left out, and named in
    left_out.txt.
    ConfigError where a drawing would take the place of one of the images; ImageError, with nothing written, if none of
    them can be read; RunError for a file that cannot be written: those before it stay.
    """
    check_folder(folder)
    names = _drawn_names(paths)
    draws = "images" in save
    if "parquet" in save:
        check_pyarrow()
    lost = {path.resolve() for path in paths} & {(folder / name).resolve() for name in names if draws}
    if lost:
        raise ConfigError(f"{min(lost)}: would be overwritten by its drawing; give another --output")
    counts: list[int] = []
    left_out: list[str] = []
    listed = 0
    read: deque[tuple[Path, str]] = deque()  # path and drawing's name of each image that is read and not written yet

    def images() -> Iterator[Rgb]:
        for path, name in zip(paths, names):
            try:
                image = read_image(path)
            except ImageError as error:
                left_out.append(str(error))
                continue
            read.append((path, name))
            yield image

    with ExitStack() as stack:
        records: JsonListFile | None = None
        writers: list[Write] = []
        for image, detections in predict(detector, images(), inference, batch_size=batch_size):
            path, name = read.popleft()
            detections = keep(detections)
            if records is None:  # the folder is not made before there is something to put in it
                records = stack.enter_context(_start(folder))
                writers = [
                    stack.enter_context(_OUTPUTS[output](folder, detector.names)) for output in dict.fromkeys(save)
                ]
            entry = Entry(path, Path(name).stem, image, detections)
            for write in writers:
                write(entry)
            height, width = image.shape[:2]
            about = {"file": str(path), "drawn": name if draws else None, "width": width, "height": height}
            records.append({**about, "detections": detections.to_dicts()})
            counts.append(len(detections))
            listen(path, len(detections))
            listed = _list_left_out(folder, left_out, listed)
    if left_out and not counts:
        what = f"none of the {len(paths)} images can be read; the first: " if len(paths) > 1 else ""
        raise ImageError(what + left_out[0])
    _list_left_out(folder, left_out, listed)
    return Written(counts, left_out)


def _start(folder: Path) -> JsonListFile:
    """Make the folder, without the left_out.txt of an earlier run, and begin its detections.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LEFT_OUT).unlink(missing_ok=True)
    return JsonListFile(folder / "detections.json")


def _list_left_out(folder: Path, left_out: list[str], listed: int) -> int:
    """Write left_out.txt if there are more lines than the `listed` ones in it; return how many lines it has then."""
    if len(left_out) > listed:
        write_text(folder / LEFT_OUT, "".join(f"{line}\n" for line in left_out))
    return len(left_out)


def _drawn_names(images: Sequence[Path]) -> list[str]:
    """Return a unique name for each image's drawing; images in different folders may have the same name."""
    names: dict[str, None] = {}
    numbers: dict[str, int] = {}  # the last number given to each stem
    for path in images:
        name, number = f"{path.stem}.jpg", numbers.get(path.stem, 1)
        while name in names:
            number += 1
            name = f"{path.stem}-{number}.jpg"
        names[name] = None
        numbers[path.stem] = number
    return list(names)
