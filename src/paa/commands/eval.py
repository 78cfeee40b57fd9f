"""paa eval: evaluate a checkpoint on a data set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from paa.commands.options import DetectorFormat, Format, limit_pixels, views_of
from paa.config import (
    Compilation,
    InferenceConfig,
    MultiScaleConfig,
    Precision,
)
from paa.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from paa.data.index import DatasetIndex
    from paa.evaluation.metrics import CocoMetrics
    from paa.evaluation.operating_point import ClassCurve
    from paa.inference.dataset import Detected
    from paa.predictor import PAA
    from paa.runtime.distributed import Process


@dataclass(frozen=True)
class Eval:
    """Evaluate a checkpoint on a data set: COCO's twelve numbers, each class, the best operating points."""

    checkpoint: Positional[Path]
    """A checkpoint of this project, the seed, the official code or MMDetection."""
    data: Path
    """The data set: a COCO JSON file, or the folder of a COCO, Pascal VOC or YOLO data set."""
    checkpoint_format: DetectorFormat | None = None
    """Format of the checkpoint; default: found out from it."""
    split: str = "val"
    """Split to evaluate on."""
    format: Format | None = None
    """Format of the data set; default: found out from what the path holds."""
    output: Path | None = None
    """Folder for the numbers, COCO results, precision-recall images and a sheet of images."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; default: a GPU if there is one."""
    batch_size: int = 8
    """Images at a time in each process."""
    limit: int | None = None
    """Evaluate on the first images only."""
    voting: bool = True
    """Score voting."""
    max_detections: int = 100
    """Most detections of an image; above 100, COCO's numbers are those of that many a class and image."""
    candidate_threshold: float = 0.05
    """Class probability (in MMDetection's models, score) above which an anchor takes part in NMS and voting."""
    nms_iou: float = 0.6
    """A box goes when a better one of its class overlaps it by more than this IoU."""
    multi_scale: bool = False
    """Detect at many sizes and mirrored too, and merge what is found; the options --views.* say how."""
    precision: Precision = "float32"
    """bfloat16: autocast; auto: bfloat16 where the device has instructions for it."""
    compile: Compilation = "off"
    """torch.compile in this mode (reduce-overhead: CUDA graphs); takes minutes at the start."""
    workers: int = 2
    """Loader processes; 0: load in this process."""
    worker_timeout: int = 300
    """Seconds without a batch after which loader processes count as hung; 0: no limit."""
    evaluator: Literal["built-in", "pycocotools"] = "built-in"
    """pycocotools, the reference, gives the same digits very much more slowly."""
    images: Path | None = None
    """Folder of the images; default: found out from the annotations."""
    skip_bad: bool = False
    """Leave out annotations and images that cannot be used, instead of stopping; with --output, left_out.txt lists
    them."""
    max_pixels: int | None = None
    """Pixels that an image may have; default: 178956970, or PAA_MAX_PIXELS of the environment."""
    views: MultiScaleConfig = field(default_factory=MultiScaleConfig)

    def run(self, console: Console) -> None:
        """Evaluate, print tables and, with an output folder, write files."""
        import numpy as np

        from paa.data.left_out import LEFT_OUT, LeftOut
        from paa.data.read import read_dataset
        from paa.data.read_report import NAMED, ReadReport
        from paa.evaluation.metrics import evaluate
        from paa.evaluation.operating_point import precision_recall
        from paa.predictor import load
        from paa.report.evaluation import write_evaluation
        from paa.runtime.distributed import start
        from paa.runtime.files import check_folder

        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit must be at least 1, got {self.limit}")
        limit_pixels(self.max_pixels)
        inference = self._inference()
        if self.output is not None:
            check_folder(self.output)
        with start(self.device) as process:
            model = load(self.checkpoint, str(process.device), format=self.checkpoint_format)
            model.optimise(self.precision, self.compile)
            report = ReadReport(self.skip_bad)
            index = read_dataset(
                self.data, self.split, self.format, names=model.names, images=self.images, report=report
            )
            if self.limit is not None:
                index = index.select(np.arange(min(self.limit, len(index))))
            index, table, unread = self._detect(model, index, process, inference, console)
            if not process.first:
                return
        left_out = [*report.left_out, *unread]
        if self.output is None and len(left_out) > NAMED:
            logging.getLogger("paa").info("--output FOLDER lists all %d that were left out", len(left_out))
        metrics = evaluate(index, table, evaluator=self.evaluator, max_detections=self.max_detections)
        curves = precision_recall(index, table, max_detections=self.max_detections)
        try:
            if self.output is not None:
                file = LeftOut(self.output / LEFT_OUT)
                file.add(self.split, left_out)
                file.write()
                write_evaluation(self.output, index, table, metrics, curves)
        finally:  # also where the files cannot be written
            self._print_tables(console, len(index), metrics, curves)
        if self.output is not None:
            console.print(f"written to {self.output}", markup=False)

    def _inference(self) -> InferenceConfig:
        """Return the settings of inference; ConfigError for an invalid one."""
        from paa.inference.detect import make_inference

        return make_inference(
            0.0,
            self.candidate_threshold,
            voting=self.voting,
            nms_iou=self.nms_iou,
            max_detections=self.max_detections,
            views=views_of(self.multi_scale, self.views),
        )

    def _detect(
        self, model: PAA, index: DatasetIndex, process: Process, inference: InferenceConfig, console: Console
    ) -> Detected:
        """Detect in all images, with a progress bar on a terminal."""
        from rich.progress import Progress

        from paa.inference.dataset import detect_dataset

        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("images of this process", total=-(-len(index) // process.world))
            return detect_dataset(
                model,
                index,
                process,
                batch_size=self.batch_size,
                workers=self.workers,
                worker_timeout=self.worker_timeout,
                skip_bad=self.skip_bad,
                inference=inference,
                precision=model.precision,
                progress=lambda count: bar.advance(task, count),
            )

    def _print_tables(self, console: Console, images: int, metrics: CocoMetrics, curves: Sequence[ClassCurve]) -> None:
        """Print COCO's numbers, each class, and the best operating points."""
        from rich.markup import escape

        from paa.report.tables import class_rows, operating_point_rows, rich_table, summary_rows

        for title, rows in (
            (escape(f"{images} images of {self.data}"), summary_rows(metrics)),
            ("classes", class_rows(metrics)),
            ("operating points of highest precision x recall, at IoU 0.5", operating_point_rows(curves)),
        ):
            console.print(rich_table(rows, title))
