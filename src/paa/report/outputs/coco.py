"""The output `coco`: results.json in COCO's result format, which `paa eval` takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paa.inference.earlier import begins
from paa.report.json_list import JsonListFile
from paa.report.outputs.entry import Entry, Write

_HEAD = re.compile(rb'\[\s*(\]|\{\s*"image_id": ")')


def wrote(folder: Path) -> bool:
    """Return whether results.json is of a prediction: its ids are file names, and no evaluation's numbers are there."""
    return begins(folder / "results.json", _HEAD) and not (folder / "metrics.json").exists()


@contextmanager
def coco_results_file(folder: Path, names: tuple[str, ...]) -> Iterator[Write]:
    """Yield what adds an image's detections to results.json, which is valid JSON after every image.

    An image's id is its path and a class's id its name, as the ids of a data set are not known. A frame's id is
    `clip/000012`, for a data set of frames that were saved as such files, and it has a `file`, `frame` and `time` too.
    """
    with JsonListFile(folder / "results.json") as results:

        def write(entry: Entry) -> None:
            if entry.frame is None:
                results.extend(entry.detections.to_coco(entry.file, names))
                return
            about = {"file": entry.file, "frame": entry.frame, "time": entry.time}
            results.extend([{**found, **about} for found in entry.detections.to_coco(entry.stem, names)])

        yield write
