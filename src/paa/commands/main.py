"""The command line: parse, call, print. Nothing imports this file.

Every command is a dataclass whose fields are its options; it is parsed, checked and run here, and an error that the
user's input caused is one line on stderr and exit code 2.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional, Suppress, arg

from paa import __version__
from paa.config import (
    AugmentConfig,
    Compilation,
    DataConfig,
    InferenceConfig,
    ModelConfig,
    MultiScaleConfig,
    Precision,
    Recipe,
    RuntimeConfig,
    ScheduleConfig,
    ValidationConfig,
    WeightsFormat,
)
from paa.errors import ConfigError, PaaError
from paa.recipes import RECIPES
from paa.runtime.terminal import safe_output

if TYPE_CHECKING:
    from rich.console import Console

    from paa.data.index import DatasetIndex
    from paa.evaluation.metrics import CocoMetrics
    from paa.evaluation.operating_point import ClassCurve
    from paa.inference.dataset import Detected
    from paa.predictor import PAA
    from paa.runtime.distributed import Process

Format = Literal["coco", "voc", "yolo"]
DetectorFormat = Literal["paa", "seed", "official", "mmdet"]


@dataclass(frozen=True)
class Train:
    """Train a detector on a data set. Options that start with model, images or schedule override the recipe."""

    data: Path
    """The data set: a COCO JSON file, or the folder of a COCO, Pascal VOC or YOLO data set."""
    recipe: str = "r50_1x"
    """Named configuration to start from."""
    output: Path | None = None
    """Folder of the run; default: runs/RECIPE-DATA."""
    batch_size: int = 16
    """Images a step, over all processes; the recipe's rate, steps and decays scale with it."""
    val_data: Path | None = None
    """The validation set; default: --data."""
    val_batch_size: int = 8
    """Images at a time in evaluation, in each process; 0 or -1: no validation."""
    val_interval: int = 0
    """Steps between evaluations; 0: ten in the whole run."""
    val_num: int | None = None
    """Evaluate on this many images only; default: all."""
    voting: bool = True
    """Score voting in evaluation."""
    resume: str | None = None
    """Go on with the run in --output: its last checkpoint, or the one named here."""
    init: str | None = None
    """Start from these weights: a file of a detector or a backbone (of any known format), or torchvision/NAME or
    timm/NAME, which are fetched. The model follows the file."""
    init_format: WeightsFormat | None = None
    """Format of that file; default: found out from it."""
    format: Format | None = None
    """Format of the data set; default: found out from what the path holds."""
    train_split: str = "train"
    """Split to train on."""
    val_split: str = "val"
    """Split to evaluate on."""
    keep_empty: bool = True
    """Train on images without objects too."""
    images: Path | None = None
    """Folder of the images; default: found out from the annotations."""
    val_images: Path | None = None
    """Folder of the validation images; default: --images, where --val-data is not given."""
    skip_bad: bool = False
    """Leave out annotations and images that cannot be used (listed in left_out.txt), instead of stopping."""
    max_pixels: int | None = None
    """Pixels that an image may have; default: 178956970, or PAA_MAX_PIXELS of the environment."""
    named: Suppress[tuple[str, ...]] = ()
    """What is named on the command line; not an option."""
    runtime: Annotated[RuntimeConfig, arg(name="")] = field(default_factory=RuntimeConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def run(self, console: Console) -> None:
        """Train, and say where the checkpoints are."""
        from paa.report.progress import TrainingProgress
        from paa.runtime.distributed import start
        from paa.training.schedule import fit_decays
        from paa.training.settings import TrainConfig
        from paa.training.train import train

        _limit_pixels(self.max_pixels)
        output = self.output
        if output is None and self.resume not in (None, "last"):
            output = Path(str(self.resume)).parent
        named = tuple(name.removeprefix("schedule.") for name in self.named if name.startswith("schedule."))
        schedule = fit_decays(self.schedule, RECIPES[self.recipe].schedule, named)
        name = self.data.stem if self.data.suffix else self.data.resolve().name
        config = TrainConfig(
            data=DataConfig(
                path=self.data,
                format=self.format,
                train_split=self.train_split,
                val_split=self.val_split,
                val_path=self.val_data,
                keep_empty=self.keep_empty,
                images=self.images,
                val_images=self.val_images,
                skip_bad=self.skip_bad,
            ),
            output=output or Path("runs") / f"{self.recipe}-{name}",
            recipe=Recipe(self.model, self.augment, schedule),
            batch_size=self.batch_size,
            validation=ValidationConfig(max(self.val_batch_size, 0), self.val_interval, self.val_num, self.voting),
            runtime=self.runtime,
            resume=None if self.resume is None else "last" if self.resume == "last" else Path(self.resume),
            init=self.init,
            init_format=self.init_format,
            named=self.named,
        )
        with start(self.runtime.device) as process:
            run = train(config, process, TrainingProgress(console))
            if process.first:
                best = f" and {run.best}" if run.best.exists() else ""
                console.print(f"checkpoints: {run.last}{best}", markup=False)


def _views(multi_scale: bool, views: MultiScaleConfig) -> MultiScaleConfig | None:
    """Return the views of multi-scale testing, None without; ConfigError for views that nobody would look at."""
    if not multi_scale and views != MultiScaleConfig():
        raise ConfigError("the options --views.* need --multi-scale")
    return views if multi_scale else None


def _limit_pixels(number: int | None) -> None:
    """Set how many pixels an image may have, if --max-pixels says so."""
    if number is not None:
        from paa.data.images.decoders import limit_pixels

        limit_pixels(number)


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
        _limit_pixels(self.max_pixels)
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
            views=_views(self.multi_scale, self.views),
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


@dataclass(frozen=True)
class Predict:
    """Draw what a checkpoint detects on images, and write the detections as JSON."""

    checkpoint: Positional[Path]
    """A checkpoint of this project, the seed, the official code or MMDetection."""
    paths: Positional[tuple[Path, ...]]
    """Images, or folders of images."""
    checkpoint_format: DetectorFormat | None = None
    """Format of the checkpoint; default: found out from it."""
    output: Path = Path("predictions")
    """Folder for the drawn images and detections.json."""
    threshold: float = 0.3
    """Least score that is drawn and written."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; default: a GPU if there is one."""
    voting: bool = True
    """Score voting."""
    max_detections: int = 100
    """Most detections of an image."""
    candidate_threshold: float | None = None
    """Class probability (in MMDetection's models, score) above which an anchor takes part in NMS and voting; default:
    0.05, or a --threshold between 0 and that."""
    nms_iou: float = 0.6
    """A box goes when a better one of its class overlaps it by more than this IoU."""
    multi_scale: bool = False
    """Detect at many sizes and mirrored too, and merge what is found; the options --views.* say how."""
    batch_size: int = 1
    """Images at a time."""
    precision: Precision = "float32"
    """bfloat16: autocast; auto: bfloat16 where the device has instructions for it."""
    compile: Compilation = "off"
    """torch.compile in this mode (reduce-overhead: CUDA graphs); takes minutes at the start."""
    skip_bad: bool = False
    """Take it as success (exit code 0, not 1) that images were left out as they cannot be read; left_out.txt lists
    them either way."""
    max_pixels: int | None = None
    """Pixels that an image may have; default: 178956970, or PAA_MAX_PIXELS of the environment."""
    views: MultiScaleConfig = field(default_factory=MultiScaleConfig)

    def run(self, console: Console) -> None:
        """Predict, draw, write; exit code 1 if an image was left out."""
        from functools import partial

        from paa.inference.detect import make_inference
        from paa.inference.predict import find_images, predict
        from paa.predictor import load
        from paa.report.predictions import write_predictions
        from paa.runtime.distributed import keep_memory

        if not self.paths:
            raise ConfigError("no images given: name image files or folders")
        _limit_pixels(self.max_pixels)
        inference = make_inference(
            self.threshold,
            self.candidate_threshold,
            voting=self.voting,
            nms_iou=self.nms_iou,
            max_detections=self.max_detections,
            views=_views(self.multi_scale, self.views),
        )
        images = find_images(self.paths, self.output)
        model = load(self.checkpoint, self.device, format=self.checkpoint_format)
        if model.mean.device.type == "cpu":
            keep_memory()
        model.optimise(self.precision, self.compile)
        written = write_predictions(
            partial(
                predict,
                model,
                inference=inference,
                batch_size=self.batch_size,
                precision=model.precision,
            ),
            images,
            self.output,
            threshold=self.threshold,
            batch_size=self.batch_size,
            listen=lambda path, count: console.print(f"{path}: {count} objects", highlight=False, markup=False),
        )
        console.print(f"written to {self.output}", markup=False)
        self._tell_left_out(written.left_out)

    def _tell_left_out(self, left_out: list[str]) -> None:
        """Name what was left out, if anything was, and end with code 1 unless --skip-bad takes it as success."""
        from paa.data.left_out import LEFT_OUT
        from paa.data.read_report import left_out_lines

        log = logging.getLogger("paa")
        for line in left_out_lines(left_out, "images"):
            log.warning(line)
        if left_out:
            log.warning("all of them are in %s; --skip-bad takes this as success", self.output / LEFT_OUT)
            if not self.skip_bad:
                sys.exit(1)


@dataclass(frozen=True)
class Demo:
    """Make a data set of shapes, train a small detector on it, evaluate it, and show what it sees."""

    output: Path = Path("demo")
    """Folder for all of it."""
    images: int = 0
    """Images of the data set; 0: as many as the demo's goal needs."""
    steps: int = 0
    """Training steps; 0: as many as the demo's goal needs."""
    device: str | None = None
    """cpu, cuda, ...; default: a GPU if there is one."""

    def run(self, console: Console) -> None:
        """Run the demo, and say what came of it."""
        from paa.commands import demo
        from paa.report.progress import TrainingProgress
        from paa.report.tables import class_rows, rich_table, summary_rows
        from paa.runtime.distributed import start

        if self.images < 0 or self.steps < 0:
            raise ConfigError(f"--images and --steps cannot be negative, got {self.images} and {self.steps}")
        with start(self.device) as process:
            metrics, seconds = demo.run_demo(
                self.output,
                process,
                TrainingProgress(console),
                images=self.images or demo.IMAGES,
                steps=self.steps or demo.STEPS,
            )
        console.print(rich_table(summary_rows(metrics), "validation set of shapes"))
        console.print(rich_table(class_rows(metrics), "classes"))
        console.print(f"training and evaluation took {seconds:.0f} s")
        console.print(f"images beside the truth: {self.output / 'evaluation' / 'sheet.jpg'}", markup=False)


@dataclass(frozen=True)
class Convert:
    """Turn a detector's checkpoint of any implementation into one safetensors file of this project."""

    checkpoint: Positional[Path]
    """A checkpoint of this project, the seed, the official code or MMDetection."""
    output: Positional[Path]
    """The file to write, *.safetensors."""
    names: tuple[str, ...] | None = None
    """Class names, in the order of the labels; default: the file's own, or COCO's for 80 classes;
    for others without names they are needed."""
    checkpoint_format: DetectorFormat | None = None
    """Format of the checkpoint; default: found out from it."""

    def run(self, console: Console) -> None:
        """Read, check, write."""
        from paa.weights.convert import convert

        weights = convert(self.checkpoint, self.output, names=self.names, format=self.checkpoint_format)
        config, tensors = weights.config, weights.tensors
        what = (
            f"{weights.provenance['format']}, {config.backbone}, {weights.num_classes} classes, {len(tensors)} tensors"
        )
        console.print(f"{self.checkpoint}: {what}", markup=False, highlight=False)
        console.print(f"written to {self.output}", markup=False)


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": Train,
    "eval": Eval,
    "predict": Predict,
    "convert": Convert,
    "demo": Demo,
}

USAGE = f"""paa {__version__}: Probabilistic Anchor Assignment with IoU Prediction

usage: paa COMMAND [options]     (paa COMMAND --help shows all options)

  paa train --data PATH --recipe NAME           train on a COCO, Pascal VOC or YOLO data set
  paa eval CHECKPOINT --data PATH               COCO's numbers, operating points
  paa predict CHECKPOINT IMAGE_OR_FOLDER...   draw and write detections
  paa convert CHECKPOINT OUT.safetensors        any implementation's checkpoint, as this project's model file
  paa demo                                      all of it on drawn shapes, in minutes, on a CPU

recipes: {", ".join(RECIPES)}"""


def parse(arguments: Sequence[str]) -> Train | Eval | Predict | Convert | Demo:
    """Return the command of a command line; ends the program with code 2 (or 0 for help) as argparse does."""
    command, rest = arguments[0], list(arguments[1:])
    kind = COMMANDS[command]
    if kind is Train:
        recipe = _recipe_of(rest)
        default = Train(
            tyro.MISSING,
            recipe=recipe,
            model=RECIPES[recipe].model,
            augment=RECIPES[recipe].augment,
            schedule=RECIPES[recipe].schedule,
            batch_size=RECIPES[recipe].schedule.reference_batch,
            named=_named(rest),
        )
        return tyro.cli(Train, args=_fill_resume(rest), default=default, prog="paa train")
    result: Train | Eval | Predict | Convert | Demo = tyro.cli(kind, args=rest, prog=f"paa {command}")
    return result


def _recipe_of(arguments: list[str]) -> str:
    """Return the recipe named on the command line, whose values are the defaults of the other options."""
    name = "r50_1x"
    for i, argument in enumerate(arguments):
        if argument == "--recipe" and i + 1 < len(arguments):
            name = arguments[i + 1]
        elif argument.startswith("--recipe="):
            name = argument.split("=", 1)[1]
    if name not in RECIPES:
        raise ConfigError(f"unknown recipe {name!r}; known: {', '.join(RECIPES)}")
    return name


def _named(arguments: list[str]) -> tuple[str, ...]:
    """Return what a command line names, as fields: --model.norm-eps, --model.no-bgr, --no_voting, --model.bgr=False."""
    names = [argument.split("=", 1)[0].removeprefix("--") for argument in arguments if argument.startswith("--")]
    parts = [name.replace("-", "_").rpartition(".") for name in names]  # the parser takes either
    return tuple(f"{group}{dot}{field.removeprefix('no_')}" for group, dot, field in parts)


def _fill_resume(arguments: list[str]) -> list[str]:
    """Let `--resume` stand alone: without a file it means the run's last checkpoint."""
    filled = []
    for i, argument in enumerate(arguments):
        filled.append(argument)
        if argument == "--resume" and (i + 1 == len(arguments) or arguments[i + 1].startswith("--")):
            filled.append("last")
    return filled


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line; exit code 0, 1 where `paa predict` left images out, 2 for an error that the input caused,
    130 when interrupted.

    Where nobody reads what is printed any more, as in `paa eval ... | head -1`, all is done nevertheless.
    """
    with safe_output():
        _run(list(sys.argv[1:] if arguments is None else arguments))


def _run(given: list[str]) -> None:
    if not given or given[0] in ("-h", "--help", "help"):
        print(USAGE)
        sys.exit(0 if given else 2)
    if given[0] == "--version":
        print(__version__)
        sys.exit(0)
    if given[0] not in COMMANDS:
        print(f"paa: error: unknown command {given[0]!r}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    log = logging.getLogger("paa")  # ours alone: other libraries' logs are theirs to show
    log.setLevel(logging.INFO)
    log.handlers[:] = [handler := logging.StreamHandler()]
    handler.setFormatter(logging.Formatter("paa: %(message)s"))
    try:
        command = parse(given)
        from rich.console import Console

        command.run(Console(soft_wrap=True))
    except (PaaError, OSError) as error:  # OSError: a full disk, a folder that cannot be written to
        print(f"paa: error: {error}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        from paa.data.workers import worker_error

        if (named := worker_error(error)) is not None:  # torch reports a worker's end wherever it is just then
            print(f"paa: error: {named}", file=sys.stderr)
            sys.exit(2)
        if not re.search("out of memory|allocate memory", str(error), re.IGNORECASE):
            raise
        print(f"paa: error: {str(error).splitlines()[0]}; a smaller batch or smaller images may help", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("paa: interrupted; what was written is whole", file=sys.stderr)
        sys.exit(130)
