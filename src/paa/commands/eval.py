"""paa eval: evaluate a checkpoint, or another tool's results, on a data set."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, fields
from functools import partial
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

    from paa.data.index import DatasetIndex
    from paa.data.read_report import ReadReport
    from paa.report.evaluation_report import EvaluationReport

_MOST_DRAWS = 100_000  # each is a number for every image


@dataclass(frozen=True)
class Eval:
    """Evaluate a checkpoint, an exported model or a file of results: COCO's numbers, operating points, errors, a
    report."""

    what: Positional[Path]
    """A checkpoint of this project, PAA_minimal, the official code or MMDetection, a name, as mmdet/r50_1x (paa weights
    lists them), an exported model (*.onnx, *.xml, *.pt2), or another tool's results: a JSON file in COCO's result
    format."""
    data: Path
    """The data set: a COCO JSON file, or the folder of a COCO, Pascal VOC or YOLO data set."""
    against: Path | None = None
    """Another checkpoint or file of results: say which differences from it are more than chance."""
    analysis: bool = False
    """Print intervals, AP by size, kinds of errors, confusions, calibration and doubtful annotations too."""
    json: bool = False
    """Print everything as JSON, and nothing else."""
    checkpoint_format: DetectorFormat | None = None
    """Format of the checkpoint; default: recognised from its content."""
    split: str = "val"
    """Split to evaluate on."""
    format: Format | None = None
    """Format of the data set; default: recognised from what the path holds."""
    output: Path | None = None
    """Folder for report.html, the numbers as JSON, COCO results, precision-recall curves and a sheet of images."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; default: a GPU if there is one."""
    limit: int | None = None
    """Evaluate on the first images only."""
    draws: int = 1000
    """Draws of the images for intervals (bootstrap); 0 leaves the intervals out."""
    inference: InferenceOptions = field(default_factory=InferenceConfig)
    multi_scale: bool = False
    """Detect at many sizes and in mirror images too, and merge the detections; --views.* are its options."""
    tiles: int | None = None
    """Look at images in tiles of this many pixels a side, for small objects in large images (--tiles.*)."""
    loading: Annotated[LoadingConfig, arg(name="")] = field(default_factory=LoadingConfig)
    images: Path | None = None
    """Folder of the images; default: found from the annotations."""
    allow_outside: tuple[Path, ...] = ()
    """Folders outside of the data set that its files and links may lead to; / allows any."""
    max_pixels: int | None = None
    """Most pixels of an image; default: 178956970, or PAA_MAX_PIXELS of the environment."""
    views: MultiScaleConfig = field(default_factory=MultiScaleConfig)
    tiling: Annotated[TileOptions, arg(name="tiles")] = field(default_factory=TileOptions)

    usual: ClassVar[tuple[str, ...]] = (
        "what",
        "data",
        "split",
        "output",
        "against",
        "analysis",
        "json",
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
        """Evaluate, print tables or JSON and, with an output folder, write files."""
        from paa.data.left_out import LEFT_OUT, LeftOut
        from paa.data.read_report import NAMED, ReadReport
        from paa.report.evaluation import write_evaluation
        from paa.runtime.files import check_folder

        inference = self._checked()
        self._check_used(inference)
        if self.output is not None:
            check_folder(self.output)
            self._check_output(self.output)
        report = ReadReport(self.loading.skip_bad)
        result = self._evaluate(inference, report, console)
        if result is None:  # the first process writes the results of all
            return
        left_out = [*report.left_out, *result.evaluated.left_out]
        if self.output is None and len(left_out) > NAMED:
            logging.getLogger("paa").info("--output FOLDER lists all %d items that were left out", len(left_out))
        try:
            if self.output is not None:
                file = LeftOut(self.output / LEFT_OUT)
                file.add(self.split, left_out)
                file.write()
                write_evaluation(self.output, result)
        finally:  # also where the files cannot be written
            self._print(console, result)
        if self.output is not None and not self.json:
            console.print(f"written to {self.output}", markup=False)

    def _checked(self) -> InferenceConfig:
        """Return the configuration of inference; ConfigError for values that make no sense together."""
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit must be at least 1, got {self.limit}")
        if self.draws < (0 if self.against is None else 1):
            least = "0" if self.against is None else "1 with --against"
            raise ConfigError(f"--draws must be at least {least}, got {self.draws}")
        if self.draws > _MOST_DRAWS:
            raise ConfigError(f"--draws must be at most {_MOST_DRAWS}, got {self.draws}")
        limit_pixels(self.max_pixels)
        return with_tiles(with_views(self.inference, self.multi_scale, self.views), self.tiles, self.tiling)

    def _check_output(self, folder: Path) -> None:
        """Raise ConfigError where what is evaluated, or what no evaluation wrote, would be lost in the folder."""
        from paa.data.left_out import LEFT_OUT
        from paa.report.evaluation import METRICS, RESULTS, WRITTEN
        from paa.training.run_folder import RunFolder

        if RunFolder(folder).log.exists():
            raise ConfigError(f"--output {folder}: is the folder of a training run; name a new one, as {folder}/eval")
        written = (folder / RESULTS).resolve()
        for given in (self.what, self.against):
            if given is not None and Path(given).resolve() == written:
                raise ConfigError(f"{given}: would be overwritten by its evaluation; give another --output")
        there = [folder / name for name in (*WRITTEN, LEFT_OUT) if (folder / name).exists()]
        if there and not (folder / METRICS).exists():
            raise ConfigError(f"{there[0]}: is not of an earlier evaluation; give another --output")

    def _check_data(self, index: DatasetIndex) -> None:
        """Raise ConfigError where a file of the data set would be lost in the output folder."""
        from paa.report.evaluation import WRITTEN

        if self.output is None:
            return
        written = {(self.output / name).resolve() for name in WRITTEN}
        pictures = tuple(name.encode() for name in WRITTEN if name.endswith((".jpg", ".png")))
        images = (index.path(i) for i, name in enumerate(index.file_names.tolist()) if name.endswith(pictures))
        for path in (self.data, *images):
            if path.resolve() in written:
                raise ConfigError(f"{path}: of the data set, would be overwritten; give another --output")

    def _check_used(self, inference: InferenceConfig) -> None:
        """Raise ConfigError for options of detection that have no effect on files of results."""
        from paa.evaluation.results_file import is_results_file

        given = [path for path in (self.what, self.against) if path is not None]
        of_results = [path for path in given if is_results_file(path)]
        if of_results and inference.max_detections < 100:
            raise ConfigError(
                f"{of_results[0]}: a file of results, of which --max-detections counts 100 at least, not "
                f"{inference.max_detections}"
            )
        if of_results != given:
            return
        default = InferenceConfig(max_detections=inference.max_detections)
        changed = [
            each.name for each in fields(default) if getattr(inference, each.name) != getattr(default, each.name)
        ]
        names = {"views": "multi-scale", "voting": "no-voting"}
        options = [names.get(name, name.replace("_", "-")) for name in changed]
        options += [] if self.checkpoint_format is None else ["checkpoint-format"]
        if options:
            raise ConfigError(
                f"{self.what}: a file of results, on which --{options[0]} has no effect: what was found is in it"
            )

    def _evaluate(self, inference: InferenceConfig, report: ReadReport, console: Console) -> EvaluationReport | None:
        """Return the evaluation with all that was asked for beside it; None in every process but the first."""
        from paa.commands.eval_subject import common_names, detect_all, open_subject
        from paa.data.read import read_dataset
        from paa.evaluation.analysis import analyse
        from paa.evaluation.comparison import compare
        from paa.evaluation.dataset import evaluate_detections
        from paa.report.console import make_console
        from paa.report.evaluation_report import EvaluationReport
        from paa.report.progress import progress_bar
        from paa.runtime.distributed import start

        shown_on = make_console(stderr=True) if self.json else console
        show_progress = partial(progress_bar, shown_on, "images of this process")
        with start(self.device) as process:
            subjects = [
                open_subject(path, format, process, inference, self.loading, show_progress)
                for path, format in ((self.what, self.checkpoint_format), (self.against, None))
                if path is not None
            ]
            names, format = common_names(subjects), self.format
            whole = read_dataset(
                self.data,
                self.split,
                format,
                names=names,
                images=self.images,
                allow_outside=self.allow_outside,
                report=report,
            )
            self._check_data(whole)
            found = detect_all(subjects, whole, self.limit, report)
            more = self.analysis or self.json or self.output is not None
            iou = subjects[0].predicted_iou(found[0].index) if process.first and more else None
        if not process.first:
            return None
        this, *others = (evaluate_detections(one, inference.max_detections) for one in found)
        return EvaluationReport(
            str(self.what),
            str(self.data),
            this,
            analyse(this, self.draws, iou) if more else None,
            None if self.against is None else str(self.against),
            compare(this.evaluation, others[0].evaluation, self.draws) if others else None,
        )

    def _print(self, console: Console, result: EvaluationReport) -> None:
        """Print the evaluation as JSON, or as tables: COCO's numbers, classes, operating points, what was asked for."""
        import json

        from rich.markup import escape

        from paa.report.analysis_tables import analysis_tables, comparison_tables
        from paa.report.evaluation_json import evaluation_dict
        from paa.report.tables import evaluation_tables, rich_table

        if self.json:
            print(json.dumps(evaluation_dict(result), indent=2))  # rich would replace what looks like an emoji's name
            return
        analysis = result.analysis if self.analysis else None
        title = f"{len(result.evaluated.index)} images of {self.data}"
        tables = evaluation_tables(result.evaluated, title, None if analysis is None else analysis.intervals)
        if analysis is not None:
            tables += analysis_tables(analysis)
        if result.comparison is not None:
            tables += comparison_tables(result.comparison, str(result.against))
        for name, rows in tables:
            console.print(rich_table(rows, escape(name)))
