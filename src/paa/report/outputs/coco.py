"""The output `coco`: results.json in COCO's result format, which `paa eval` takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paa.report.json_list import JsonListFile
from paa.report.outputs.entry import Write


@contextmanager
def coco_results_file(folder: Path, names: tuple[str, ...]) -> Iterator[Write]:
    """Yield what adds an image's detections to results.json, which is valid JSON after every image.

    An image's id is its path and a class's id its name, as the ids of a data set are not known.
    """
    with JsonListFile(folder / "results.json") as results:
        yield lambda entry: results.extend(entry.detections.to_coco(str(entry.path), names))
