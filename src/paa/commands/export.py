"""paa export: a checkpoint as an ONNX, OpenVINO or compiled model that detects the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from tyro.conf import Positional, arg

from paa.commands.options import DetectorFormat, Format, limit_pixels
from paa.config import CANDIDATE_THRESHOLD, LoadingConfig
from paa.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from paa.data.index import DatasetIndex
    from paa.data.read_report import ReadReport
    from paa.export.calibration import Calibration
    from paa.export.run import Evidence, Exported


@dataclass(frozen=True)
class Export:
    """Write a checkpoint as an ONNX, OpenVINO or compiled model with NMS and score voting; it is kept only where it
    detects the same."""

    checkpoint: Positional[Path]
    """A checkpoint of this project, PAA_minimal, the official code or MMDetection, or a name, as mmdet/r50_1x (paa
    weights lists them)."""
    output: Positional[Path]
    """The file to write: *.onnx (ONNX), *.xml (OpenVINO, with *.bin beside it) or *.pt2 (machine code, by PyTorch's
    compiler); where it detects something else, it is called OUT.unproven.*, and the exit code is 1."""
    data: Path | None = None
    """A data set, on which checkpoint and exported model are evaluated: COCO JSON, or the folder of a COCO, Pascal VOC
    or YOLO data set."""
    tolerance: float = 0.1
    """With --data: the most that the two APs, in percent, may differ."""
    json: bool = False
    """Print how the exported model compares as JSON, and nothing else."""
    sample_images: tuple[Path, ...] = ()
    """Sample images, or folders of them, to compare detections on; default: those of --data, or drawn ones."""
    samples: int = 8
    """Compare on this many sample images, the first ones (drawn ones: always 4)."""
    int8: bool = False
    """With *.xml and --data: compute in INT8, for speed at some loss of accuracy."""
    calibration_images: int = 300
    """With --int8: most images that set the ranges of its numbers."""
    calibration_split: str = "train"
    """With --int8: the split that these images are from."""
    resize: bool = False
    """Resize and pad in the graph: it takes images as they are; the images of a batch have one size. Not with *.pt2."""
    voting: bool = True
    """Score voting (paper, section 3.4), in the graph."""
    nms_iou: float = 0.6
    """A box is removed when a better one of its class overlaps it by more than this IoU."""
    max_detections: int = 100
    """Most detections of an image."""
    candidate_threshold: float = CANDIDATE_THRESHOLD
    """Class probability (in MMDetection's models, score) above which an anchor takes part in NMS and voting."""
    split: str = "val"
    """Split of the data set."""
    format: Format | None = None
    """Format of the data set; default: recognised from what the path holds."""
    limit: int | None = None
    """Evaluate on the first images of the data set only."""
    loading: Annotated[LoadingConfig, arg(name="")] = field(default_factory=LoadingConfig)
    images: Path | None = None
    """Folder of the data set's images; default: found from the annotations."""
    allow_outside: tuple[Path, ...] = ()
    """Folders outside of the data set that its files and links may lead to; / allows any."""
    checkpoint_format: DetectorFormat | None = None
    """Format of the checkpoint; default: recognised from its content."""
    max_pixels: int | None = None
    """Most pixels of an image; default: 178956970, or PAA_MAX_PIXELS of the environment."""

    usual: ClassVar[tuple[str, ...]] = (
        "checkpoint",
        "output",
        "data",
        "tolerance",
        "json",
        "sample_images",
        "int8",
        "resize",
        "voting",
        "max_detections",
        "split",
        "limit",
        "loading.workers",
    )
    """The options that --help shows."""

    def run(self, console: Console) -> None:
        """Export, compare, print the differences; exit code 1 if they are too large."""
        from paa.export.description import GraphSettings
        from paa.export.run import check_output, export
        from paa.report.console import make_console
        from paa.weights.read import read_weights

        for name, value in (
            ("limit", self.limit),
            ("samples", self.samples),
            ("calibration-images", self.calibration_images),
        ):
            if value is not None and value < 1:
                raise ConfigError(f"--{name} must be at least 1, got {value}")
        if not self.tolerance >= 0:
            raise ConfigError(f"--tolerance must be at least 0, got {self.tolerance}")
        limit_pixels(self.max_pixels)
        settings = GraphSettings(
            candidate_threshold=self.candidate_threshold,
            voting=self.voting,
            nms_iou=self.nms_iou,
            max_detections=self.max_detections,
            resize=self.resize,
        )
        settings.inference()  # invalid values are named before anything is read
        check_output(self.output, settings, int8=self.int8)
        if self.data is None:
            about_data = ("format", "images", "limit", "tolerance", "split", "allow_outside")
            if given := next((name for name in about_data if getattr(self, name) != getattr(Export, name)), None):
                option = given.replace("_", "-")
                raise ConfigError(f"--{option} is about a data set, --data PATH (sample images: --sample-images)")
        if self.int8 and self.data is None:
            raise ConfigError("--int8 needs --data PATH: images that set the ranges of its numbers, and that prove it")
        about_int8 = ("calibration_images", "calibration_split")
        if not self.int8 and any(getattr(self, name) != getattr(Export, name) for name in about_int8):
            raise ConfigError("--calibration-images and --calibration-split have no effect without --int8")
        weights = read_weights(self.checkpoint, self.checkpoint_format)
        evidence = self._evidence(weights.class_names())
        shown_on = make_console(stderr=True) if self.json else console
        written = export(
            self.checkpoint,
            weights,
            self.output,
            settings,
            evidence,
            self._calibration(),
            listen=lambda step: shown_on.print(f"{step} ...", highlight=False, markup=False),
        )
        if self.json:
            sys.stdout.write(json.dumps(self._to_dict(written), indent=1) + "\n")
        else:
            self._report(console, written)
        if not written.kept:
            sys.exit(1)

    def _evidence(self, names: tuple[str, ...] | None) -> Evidence:
        """Return the sample images and the data set to compare on."""
        import numpy as np

        from paa.data.images.read import read_image
        from paa.data.read_report import ReadReport
        from paa.export.run import Evidence
        from paa.inference.sources import find_images

        index = None
        samples = find_images(self.sample_images)[: self.samples]
        for path in samples:  # before the export, which takes minutes
            read_image(path)
        if self.data is not None:
            report = ReadReport(self.loading.skip_bad)
            index = self._read(self.split, report, names)
            if self.limit is not None:
                index = index.select(np.arange(min(self.limit, len(index))))
            if not samples:
                samples = self._samples_of(index)
        return Evidence(samples, index, self.loading, self.tolerance)

    def _samples_of(self, index: DatasetIndex) -> list[Path]:
        """Return the first images of a data set; with --skip-bad the first ones that can be read."""
        from paa.data.images.read import read_image
        from paa.errors import ImageError

        samples: list[Path] = []
        for path in map(index.path, range(len(index))):
            if len(samples) == self.samples:
                break
            try:
                if self.loading.skip_bad:
                    read_image(path)
            except ImageError:
                continue
            samples.append(path)
        return samples

    def _to_dict(self, written: Exported) -> dict[str, Any]:
        """Return the comparison as plain values: APs in percent, boxes in pixels."""
        found, aps = written.samples, written.aps
        return {
            "checkpoint": str(self.checkpoint),
            "path": str(written.path),
            "kept": written.kept,
            "bytes": written.size,
            "samples": {
                "images": found.images,
                "detections_of_both": found.detections,
                "detections_of_one": found.alone,
                "largest_box_difference": found.box,
                "largest_score_difference": found.score,
            },
            "AP": None if aps is None else {"checkpoint": aps[0], "exported": aps[1], "tolerance": self.tolerance},
        }

    def _read(self, split: str, report: ReadReport, names: Sequence[str] | None = None) -> DatasetIndex:
        """Read a split of the data set; names: the classes, None for the data set's own."""
        from paa.data.read import read_dataset

        assert self.data is not None
        return read_dataset(
            self.data,
            split,
            self.format,
            names=names,
            images=self.images,
            allow_outside=self.allow_outside,
            report=report,
        )

    def _calibration(self) -> Calibration | None:
        """Return the images for INT8, if that is asked for."""
        from paa.data.read_report import ReadReport
        from paa.export.calibration import Calibration

        if not self.int8 or self.data is None:
            return None
        report = ReadReport(self.loading.skip_bad)
        index = self._read(self.calibration_split, report)
        return Calibration(index, self.calibration_images, self.calibration_split, self.loading)

    def _report(self, console: Console, written: Exported) -> None:
        """Print how the exported model compares, and where it is."""
        from paa.errors import format_bytes

        def say(line: str) -> None:
            console.print(line, markup=False, highlight=False)

        found = written.samples
        which = "sample images" if self.sample_images or self.data is not None else "drawn images"
        say(
            f"{found.images} {which}: {found.detections} detections of both, {found.alone} of one of them alone; "
            f"largest difference {found.box:.2g} pixels, {found.score:.2g} in scores"
        )
        if not found.detections:
            say("nothing was detected in them: name images of the model's objects with --sample-images or --data")
        if written.aps is not None:
            before, after = written.aps
            say(
                f"AP {before:.2f} of the checkpoint, {after:.2f} of the exported model: difference "
                f"{abs(after - before):.2f}, tolerance {self.tolerance:g}"
            )
        size = format_bytes(written.size)
        if written.kept:
            say(f"written to {self.output} ({size})")
            return
        remedy = "" if written.aps is None else " (a higher --tolerance keeps such a model)"
        left = f"left at {written.path} ({size}); {self.output} is not written"
        say(f"the exported model differs too much{remedy}: {left}")
