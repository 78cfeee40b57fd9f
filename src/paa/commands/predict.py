"""paa predict: draw what a checkpoint detects."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from tyro.conf import Positional, arg

from paa.commands.options import DetectorFormat, InferenceOptions, TileOptions, limit_pixels, with_tiles, with_views
from paa.commands.predict_engine import listed_images, predict_with_engine
from paa.config import FetchConfig, InferenceConfig, MultiScaleConfig, PredictionOutput
from paa.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from paa.inference.keep import Keep
    from paa.report.outputs.entry import Entry


@dataclass(frozen=True)
class EngineOptions:
    """How --engine divides the work."""

    workers: int | None = None
    """Worker processes; default: one for each GPU, or else for each CPU core, of Ray's cluster or this machine."""
    shard_size: int = 1000
    """Images in a file of the results, which is what a worker that dies loses at most."""
    readers: int = 4
    """Threads of each worker that fetch and decode images in advance."""


@dataclass(frozen=True)
class Predict:
    """Draw what a checkpoint detects on images and videos, and write the detections as JSON."""

    checkpoint: Positional[Path]
    """A checkpoint of this project, PAA_minimal, the official code or MMDetection, an exported model (*.onnx, *.xml,
    *.pt2), or a name, as mmdet/r50_1x (paa weights lists them)."""
    paths: Positional[tuple[str, ...]]
    """Images, videos, folders of these, quoted patterns as 'photos/**/*.jpg', URLs of images, camera:0 for a camera,
    and - for a list on standard input, one a line."""
    checkpoint_format: DetectorFormat | None = None
    """Format of the checkpoint; default: recognised from its content."""
    output: Path = Path("predictions")
    """Folder for detections.json and what --save names."""
    save: tuple[PredictionOutput, ...] = ("images",)
    """What to write beside detections.json: drawn images and videos, results.json (COCO's format), labels for YOLO,
    detections.csv, detections.parquet; --save alone: nothing."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; default: a GPU if there is one."""
    inference: InferenceOptions = field(default_factory=lambda: InferenceConfig(threshold=0.3))
    multi_scale: bool = False
    """Detect at many sizes and in mirror images too, and merge the detections; --views.* are its options."""
    tiles: int | None = None
    """Look at images in tiles of this many pixels a side, for small objects in large images (--tiles.*)."""
    thresholds: Path | None = None
    """metrics.json of paa eval --output: each class's best threshold, as measured there; --threshold counts for
    classes without one."""
    classes: tuple[str, ...] = ()
    """Only detections of these classes; default: all."""
    top_k: int | None = None
    """Only the best of each image, so many; default: all above the threshold."""
    every: int = 1
    """Of a video or a camera, look at every so-many-th frame only."""
    batch_size: int = 1
    """Images at a time."""
    engine: Literal["processes", "ray"] | None = None
    """For many images: worker processes or Ray; Parquet files in --output; resumes (--engine.*)."""
    skip_bad: bool = False
    """Exit with 0, not 1, where images were left out; left_out.txt lists them."""
    max_pixels: int | None = None
    """Most pixels of an image; default: 178956970, or PAA_MAX_PIXELS of the environment."""
    views: MultiScaleConfig = field(default_factory=MultiScaleConfig)
    tiling: Annotated[TileOptions, arg(name="tiles")] = field(default_factory=TileOptions)
    fetching: Annotated[FetchConfig, arg(name="url")] = field(default_factory=FetchConfig)
    engine_options: Annotated[EngineOptions, arg(name="engine")] = field(default_factory=EngineOptions)

    usual: ClassVar[tuple[str, ...]] = (
        "checkpoint",
        "paths",
        "output",
        "save",
        "device",
        "inference.threshold",
        "inference.max_detections",
        "inference.precision",
        "multi_scale",
        "tiles",
        "thresholds",
        "classes",
        "top_k",
        "every",
        "batch_size",
        "engine",
        "skip_bad",
    )
    """The options that --help shows."""

    def run(self, console: Console) -> None:
        """Predict, draw, write; exit code 1 if an image was left out."""
        from paa.inference.sources import expected_images, find_sources
        from paa.predictor import load
        from paa.report.predictions import write_predictions
        from paa.report.progress import PredictionLines, progress_bar, terminal_for_progress
        from paa.runtime.memory import keep_memory

        if not self.paths:
            raise ConfigError("no images given: name files, folders, URLs of images or camera:0")
        if self.every < 1:
            raise ConfigError(f"--every must be at least 1, got {self.every}")
        limit_pixels(self.max_pixels)
        if self.engine is not None:
            predict_with_engine(self, console)
            return
        if self.engine_options != EngineOptions():
            raise ConfigError("the options --engine.* need --engine")
        inference = with_views(self.inference, self.multi_scale, self.views)
        inference = with_tiles(inference, self.tiles, self.tiling)
        sources = find_sources(_with_listed(self.paths), self.output)
        model = load(self.checkpoint, self.device, format=self.checkpoint_format)
        if model.mean.device.type == "cpu":
            keep_memory()
        keep = self._keep(model.names)
        if self.thresholds is not None:  # detect as the evaluation did, which had no threshold
            inference = replace(inference, threshold=0.0)
        model.inference = inference
        model.optimise(inference.precision, inference.compile)
        lines = PredictionLines(lambda line: console.print(line, highlight=False, markup=False))
        terminal = terminal_for_progress(console)
        total = expected_images(sources, self.every) if terminal.is_terminal else None

        def listen(entry: Entry) -> None:
            lines(entry)
            advance(1)

        with progress_bar(terminal, "images", total) as advance:
            try:
                written = write_predictions(
                    model,
                    sources,
                    self.output,
                    model.inference,
                    batch_size=self.batch_size,
                    every=self.every,
                    limits=self.fetching,
                    save=self.save,
                    keep=keep,
                    listen=listen,
                )
            finally:
                lines.end_video()
        console.print(f"written to {self.output}", markup=False)
        self._report_left_out(written.left_out)

    def _keep(self, names: tuple[str, ...]) -> Keep:
        """Return which detections are kept; a line says for which classes the evaluation has no threshold."""
        from paa.data.read_report import first_few
        from paa.evaluation.thresholds import read_thresholds
        from paa.inference.keep import keep_for

        threshold = self.inference.threshold
        thresholds = None if self.thresholds is None else read_thresholds(self.thresholds)
        keep = keep_for(names, threshold, thresholds=thresholds, classes=self.classes, most=self.top_k)
        without = [] if thresholds is None else [name for name in names if name not in thresholds]
        if without:
            log = logging.getLogger("paa")
            log.warning(f"{self.thresholds} has no threshold for {first_few(without)}: {threshold} counts for them")
        return keep

    def _report_left_out(self, left_out: list[str]) -> None:
        """Log the images left out, if any, and end with code 1 unless --skip-bad takes that as success."""
        from paa.data.left_out import LEFT_OUT
        from paa.data.read_report import left_out_lines

        log = logging.getLogger("paa")
        for line in left_out_lines(left_out, "images"):
            log.warning(line)
        if left_out:
            log.warning("all of them are listed in %s; with --skip-bad the exit code is 0", self.output / LEFT_OUT)
            if not self.skip_bad:
                sys.exit(1)


def _with_listed(paths: Sequence[str]) -> list[str]:
    """Return the paths with the lines of standard input, which is read to its end, in the place of the first `-`."""
    listed = listed_images(tuple(paths))
    named: list[str] = []
    for path in paths:
        if path != "-":
            named.append(path)
        else:
            named += listed
            listed = []
    if not named:
        raise ConfigError("no images given: standard input has no line")
    return named
