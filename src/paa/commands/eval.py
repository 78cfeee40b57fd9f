"""paa eval: evaluate a checkpoint on a data set."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional, arg

from paa.commands.options import (
    DetectorFormat,
    Format,
    InferenceOptions,
    TileOptions,
    limit_pixels,
    with_tiles,
    with_views,
)
from paa.config import InferenceConfig, LoadingConfig, MultiScaleConfig
from paa.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from paa.evaluation.dataset import EvaluatedDataset


@dataclass(frozen=True)
class Eval:
    """Evaluate a checkpoint on a data set: COCO's twelve numbers, each class, the best operating points."""

    checkpoint: Positional[Path]
    """A checkpoint of this project, the seed, the official code or MMDetection, or a name, as mmdet/r50_1x (paa weights
    lists them)."""
    data: Path
    """The data set: a COCO JSON file, or the folder of a COCO, Pascal VOC or YOLO data set."""
    checkpoint_format: DetectorFormat | None = None
    """Format of the checkpoint; default: recognised from its content."""
    split: str = "val"
    """Split to evaluate on."""
    format: Format | None = None
    """Format of the data set; default: recognised from what the path holds."""
    output: Path | None = None
    """Folder for the numbers, COCO results, precision-recall curves and a sheet of images."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; default: a GPU if there is one."""
    limit: int | None = None
    """Evaluate on the first images only."""
    inference: InferenceOptions = field(default_factory=InferenceConfig)
    multi_scale: bool = False
    """Detect at many sizes and in mirror images too, and merge the detections; --views.* are its options."""
    tiles: int | None = None
    """Look at images in tiles of this many pixels a side, for small objects in large images (--tiles.*)."""
    loading: Annotated[LoadingConfig, arg(name="")] = field(default_factory=LoadingConfig)
    images: Path | None = None
    """Folder of the images; default: found from the annotations."""
    max_pixels: int | None = None
    """Most pixels of an image; default: 178956970, or PAA_MAX_PIXELS of the environment."""
    views: MultiScaleConfig = field(default_factory=MultiScaleConfig)
    tiling: Annotated[TileOptions, arg(name="tiles")] = field(default_factory=TileOptions)

    usual: ClassVar[tuple[str, ...]] = (
        "checkpoint",
        "data",
        "split",
        "output",
        "device",
        "limit",
        "inference.voting",
        "inference.max_detections",
        "inference.precision",
        "multi_scale",
        "tiles",
        "loading.batch_size",
        "loading.workers",
        "loading.skip_bad",
    )
    """The options that --help shows."""

    def run(self, console: Console) -> None:
        """Evaluate, print tables and, with an output folder, write files."""
        import numpy as np

        from paa.data.left_out import LEFT_OUT, LeftOut
        from paa.data.read import read_dataset
        from paa.data.read_report import NAMED, ReadReport
        from paa.evaluation.dataset import evaluate_dataset
        from paa.predictor import load
        from paa.report.evaluation import write_evaluation
        from paa.report.progress import progress_bar
        from paa.runtime.distributed import start
        from paa.runtime.files import check_folder

        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit must be at least 1, got {self.limit}")
        limit_pixels(self.max_pixels)
        inference = with_views(self.inference, self.multi_scale, self.views)
        inference = with_tiles(inference, self.tiles, self.tiling)
        if self.output is not None:
            check_folder(self.output)
        with start(self.device) as process:
            model = load(self.checkpoint, str(process.device), format=self.checkpoint_format)
            model.inference = inference
            model.optimise(inference.precision, inference.compile)
            report = ReadReport(self.loading.skip_bad)
            index = read_dataset(
                self.data, self.split, self.format, names=model.names, images=self.images, report=report
            )
            if self.limit is not None:
                index = index.select(np.arange(min(self.limit, len(index))))
            with progress_bar(console, "images of this process", -(-len(index) // process.world)) as advance:
                evaluated = evaluate_dataset(model, index, process, model.inference, self.loading, advance)
        if evaluated is None:  # the first process writes the results of all
            return
        left_out = [*report.left_out, *evaluated.left_out]
        if self.output is None and len(left_out) > NAMED:
            logging.getLogger("paa").info("--output FOLDER lists all %d items that were left out", len(left_out))
        try:
            if self.output is not None:
                file = LeftOut(self.output / LEFT_OUT)
                file.add(self.split, left_out)
                file.write()
                write_evaluation(self.output, evaluated)
        finally:  # also where the files cannot be written
            self._print_tables(console, evaluated)
        if self.output is not None:
            console.print(f"written to {self.output}", markup=False)

    def _print_tables(self, console: Console, evaluated: EvaluatedDataset) -> None:
        """Print COCO's numbers, each class, and the best operating points."""
        from rich.markup import escape

        from paa.report.tables import evaluation_tables, rich_table

        for title, rows in evaluation_tables(evaluated, f"{len(evaluated.index)} images of {self.data}"):
            console.print(rich_table(rows, escape(title)))
