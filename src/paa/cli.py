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
    Compilation,
    DataConfig,
    ModelConfig,
    MultiScaleConfig,
    PictureConfig,
    Precision,
    Recipe,
    RuntimeConfig,
    ScheduleConfig,
    ValidationConfig,
    WeightsFormat,
)
from paa.errors import ConfigError, PaaError
from paa.recipes import RECIPES
from paa.terminal import safe_output

if TYPE_CHECKING:
    from rich.console import Console

Format = Literal["coco", "voc", "yolo"]
DetectorFormat = Literal["paa", "seed", "official", "mmdet"]


@dataclass(frozen=True)
class Train:
    """Train a detector on a data set. Options that start with model, pictures or schedule override the recipe."""

    data: Path
    """The data set: a COCO JSON file, or the folder of a COCO, Pascal VOC or YOLO data set."""
    recipe: str = "r50_1x"
    """Named configuration to start from."""
    output: Path | None = None
    """Folder of the run; default: runs/RECIPE-DATA."""
    batch_size: int = 16
    """Pictures a step, over all processes; the recipe's rate, steps and decays scale with it."""
    val_data: Path | None = None
    """The validation set; default: --data."""
    val_batch_size: int = 8
    """Pictures at a time in evaluation, in each process; 0 or -1: no validation."""
    val_interval: int = 0
    """Steps between evaluations; 0: ten in the whole run."""
    val_num: int | None = None
    """Evaluate on this many pictures only; default: all."""
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
    """Train on pictures without objects too."""
    images: Path | None = None
    """Folder of the images; default: found out from the annotations."""
    val_images: Path | None = None
    """Folder of the validation images; default: --images, where --val-data is not given."""
    skip_bad: bool = False
    """Leave out annotations and images that cannot be used (listed in left_out.txt), instead of stopping."""
    chosen: Suppress[tuple[str, ...]] = ()
    """Fields of the model that are named on the command line; not an option."""
    runtime: Annotated[RuntimeConfig, arg(name="")] = field(default_factory=RuntimeConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    pictures: PictureConfig = field(default_factory=PictureConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def run(self, console: Console) -> None:
        """Train, and say where the checkpoints are."""
        from paa.engine.distributed import start
        from paa.engine.settings import TrainConfig
        from paa.engine.train import train
        from paa.report.progress import TrainingProgress

        output = self.output
        if output is None and self.resume not in (None, "last"):
            output = Path(str(self.resume)).parent
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
            recipe=Recipe(self.model, self.pictures, self.schedule),
            batch_size=self.batch_size,
            validation=ValidationConfig(max(self.val_batch_size, 0), self.val_interval, self.val_num, self.voting),
            runtime=self.runtime,
            resume=None if self.resume is None else "last" if self.resume == "last" else Path(self.resume),
            init=self.init,
            init_format=self.init_format,
            chosen=self.chosen,
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
    """Folder for the numbers, COCO results, precision-recall pictures and a sheet of pictures."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; default: a GPU if there is one."""
    batch_size: int = 8
    """Pictures at a time in each process."""
    limit: int | None = None
    """Evaluate on the first pictures only."""
    voting: bool = True
    """Score voting."""
    multi_scale: bool = False
    """Detect at many sizes and mirrored too, and merge what is found; the options --views.* say how."""
    precision: Precision = "float32"
    """bfloat16: autocast; auto: bfloat16 where the device has instructions for it."""
    compile: Compilation = "off"
    """torch.compile in this mode (reduce-overhead: CUDA graphs); takes minutes at the start."""
    workers: int = 2
    """Loader processes."""
    evaluator: Literal["built-in", "pycocotools"] = "built-in"
    """pycocotools, the reference, gives the same digits very much more slowly."""
    images: Path | None = None
    """Folder of the images; default: found out from the annotations."""
    skip_bad: bool = False
    """Leave out annotations and images that cannot be used (listed in left_out.txt), instead of stopping."""
    views: MultiScaleConfig = field(default_factory=MultiScaleConfig)

    def run(self, console: Console) -> None:
        """Evaluate, print tables and, with an output folder, write files."""
        import numpy as np
        from rich.markup import escape
        from rich.progress import Progress

        from paa.data.read import read_dataset
        from paa.data.report import ReadReport
        from paa.engine.distributed import start
        from paa.engine.evaluate import detect_dataset
        from paa.engine.left_out import LeftOut
        from paa.engine.metrics import evaluate
        from paa.engine.operating_point import precision_recall
        from paa.engine.run_folder import check_folder
        from paa.predictor import load
        from paa.report.evaluation import write_evaluation
        from paa.report.tables import class_rows, operating_point_rows, rich_table, summary_rows

        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit must be at least 1, got {self.limit}")
        views = _views(self.multi_scale, self.views)
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
            with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
                task = bar.add_task("pictures of this process", total=-(-len(index) // process.world))
                table = detect_dataset(
                    model,
                    index,
                    process,
                    batch_size=self.batch_size,
                    workers=self.workers,
                    voting=self.voting,
                    multi_scale=views,
                    precision=model.precision,
                    progress=lambda pictures: bar.advance(task, pictures),
                )
            if not process.first:
                return
        metrics = evaluate(index, table, evaluator=self.evaluator)
        curves = precision_recall(index, table)
        try:
            if self.output is not None:
                left_out = LeftOut(self.output / "left_out.txt")
                left_out.add(self.split, report.left_out)
                left_out.write()
                write_evaluation(self.output, index, table, metrics, curves)
        finally:  # also where the files cannot be written
            for title, rows in (
                (escape(f"{len(index)} pictures of {self.data}"), summary_rows(metrics)),
                ("classes", class_rows(metrics)),
                ("operating points of highest precision x recall, at IoU 0.5", operating_point_rows(curves)),
            ):
                console.print(rich_table(rows, title))
        if self.output is not None:
            console.print(f"written to {self.output}", markup=False)


@dataclass(frozen=True)
class Predict:
    """Draw what a checkpoint detects on pictures, and write the detections as JSON."""

    checkpoint: Positional[Path]
    """A checkpoint of this project, the seed, the official code or MMDetection."""
    paths: Positional[tuple[Path, ...]]
    """Pictures, or folders of pictures."""
    checkpoint_format: DetectorFormat | None = None
    """Format of the checkpoint; default: found out from it."""
    output: Path = Path("predictions")
    """Folder for the drawn pictures and detections.json."""
    threshold: float = 0.3
    """Least score that is drawn and written."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; default: a GPU if there is one."""
    voting: bool = True
    """Score voting."""
    multi_scale: bool = False
    """Detect at many sizes and mirrored too, and merge what is found; the options --views.* say how."""
    batch_size: int = 1
    """Pictures at a time."""
    precision: Precision = "float32"
    """bfloat16: autocast; auto: bfloat16 where the device has instructions for it."""
    compile: Compilation = "off"
    """torch.compile in this mode (reduce-overhead: CUDA graphs); takes minutes at the start."""
    views: MultiScaleConfig = field(default_factory=MultiScaleConfig)

    def run(self, console: Console) -> None:
        """Predict, draw, write."""
        from paa.engine.distributed import keep_memory
        from paa.engine.predict import find_pictures
        from paa.predictor import load
        from paa.report.predictions import write_predictions

        if not self.paths:
            raise ConfigError("no pictures given: name picture files or folders")
        views = _views(self.multi_scale, self.views)
        pictures = find_pictures(self.paths)
        model = load(self.checkpoint, self.device, format=self.checkpoint_format)
        if model.mean.device.type == "cpu":
            keep_memory()
        model.optimise(self.precision, self.compile)
        counts = write_predictions(
            model,
            pictures,
            self.output,
            threshold=self.threshold,
            voting=self.voting,
            multi_scale=views,
            batch_size=self.batch_size,
            precision=model.precision,
        )
        for path, count in zip(pictures, counts):
            console.print(f"{path}: {count} objects", highlight=False, markup=False)
        console.print(f"written to {self.output}", markup=False)


@dataclass(frozen=True)
class Demo:
    """Make a data set of shapes, train a small detector on it, evaluate it, and show what it sees."""

    output: Path = Path("demo")
    """Folder for all of it."""
    pictures: int = 0
    """Pictures of the data set; 0: as many as the demo's goal needs."""
    steps: int = 0
    """Training steps; 0: as many as the demo's goal needs."""
    device: str | None = None
    """cpu, cuda, ...; default: a GPU if there is one."""

    def run(self, console: Console) -> None:
        """Run the demo, and say what came of it."""
        from paa import demo
        from paa.engine.distributed import start
        from paa.report.progress import TrainingProgress
        from paa.report.tables import class_rows, rich_table, summary_rows

        if self.pictures < 0 or self.steps < 0:
            raise ConfigError(f"--pictures and --steps cannot be negative, got {self.pictures} and {self.steps}")
        with start(self.device) as process:
            metrics, seconds = demo.run_demo(
                self.output,
                process,
                TrainingProgress(console),
                pictures=self.pictures or demo.PICTURES,
                steps=self.steps or demo.STEPS,
            )
        console.print(rich_table(summary_rows(metrics), "validation set of shapes"))
        console.print(rich_table(class_rows(metrics), "classes"))
        console.print(f"training and evaluation took {seconds:.0f} s")
        console.print(f"pictures beside the truth: {self.output / 'evaluation' / 'sheet.jpg'}", markup=False)


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
  paa predict CHECKPOINT PICTURE_OR_FOLDER...   draw and write detections
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
            pictures=RECIPES[recipe].pictures,
            schedule=RECIPES[recipe].schedule,
            batch_size=RECIPES[recipe].schedule.reference_batch,
            chosen=_model_fields_of(rest),
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


def _model_fields_of(arguments: list[str]) -> tuple[str, ...]:
    """Return the fields of the model that a command line names: --model.norm-eps, --model.no-bgr, --model.bgr=False."""
    names = [argument.split("=", 1)[0] for argument in arguments if argument.startswith("--model.")]
    return tuple(name.removeprefix("--model.").removeprefix("no-").replace("-", "_") for name in names)


def _fill_resume(arguments: list[str]) -> list[str]:
    """Let `--resume` stand alone: without a file it means the run's last checkpoint."""
    filled = []
    for i, argument in enumerate(arguments):
        filled.append(argument)
        if argument == "--resume" and (i + 1 == len(arguments) or arguments[i + 1].startswith("--")):
            filled.append("last")
    return filled


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line; exit code 0, 2 for an error that the input caused, 130 when interrupted.

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
        print(
            f"paa: error: {str(error).splitlines()[0]}; a smaller batch or smaller pictures may help", file=sys.stderr
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("paa: interrupted; what was written is whole", file=sys.stderr)
        sys.exit(130)
