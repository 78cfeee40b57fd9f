"""paa explain: which anchors are positive for each object, and why; or one object's assignment over a training run."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional, arg

from paa.commands.options import DetectorFormat, Format, limit_pixels
from paa.config import LoadingConfig
from paa.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from paa.data.index import DatasetIndex
    from paa.data.read_report import ReadReport
    from paa.predictor import PAA
    from paa.report.explanation import Explained

_MOST_SHOWN = 10_000  # objects of a page; each has some 25 kB


_OPTIONS = {"what_if": "no-what-if"}
"""Fields whose options have other names."""

_OF_A_CHECKPOINT = (
    *("split", "limit", "pictures", "what_if", "checkpoint_format", "format", "images", "allow_outside", "max_pixels"),
    "loading.skip_bad",
)
"""Fields that change nothing of a run's explanation, though somebody may expect it."""


@dataclass(frozen=True)
class Explain:
    """Show which anchors a model's training would make positive for each object of a data set, and why.

    Of the folder of a training run, show how the assignment of some objects changed: animations and their numbers.
    """

    what: Positional[Path]
    """A checkpoint, as for paa eval, or the folder of a training run."""
    data: Path | None = None
    """The data set: a COCO JSON file, or the folder of a COCO, Pascal VOC or YOLO data set."""
    split: str = "val"
    """Split whose objects are explained."""
    image: tuple[str, ...] | None = None
    """Only images of these names, in which * stands for any text, or ids; default: all."""
    output: Path = Path("explained")
    """Folder for assignment.html and assignment.json; of a run, for animations and their numbers."""
    limit: int = 200
    """Objects on the page, those with the fewest positives; the numbers are of all objects."""
    pictures: int = 0
    """Objects, the first of the page, of which a picture is written too, as PNG."""
    assigner: str | None = None
    """The rule that decides which anchors are positive, as for paa train: a name, also with parameters, or your own,
    FILE.py:NAME; default: the rule that the model was trained by."""
    what_if: bool = True
    """Say what other rules, and the paper's with other numbers, would make positive."""
    checkpoint_format: DetectorFormat | None = None
    """Format of the checkpoint; default: recognised from its content."""
    format: Format | None = None
    """Format of the data set; default: recognised from what the path holds."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; default: a GPU if there is one."""
    loading: Annotated[LoadingConfig, arg(name="")] = field(default_factory=lambda: LoadingConfig(batch_size=1))
    images: Path | None = None
    """Folder of the images; default: found from the annotations."""
    allow_outside: tuple[Path, ...] = ()
    """Folders outside of the data set that its files and links may lead to; / allows any."""
    max_pixels: int | None = None
    """Most pixels of an image; default: 178956970, or PAA_MAX_PIXELS of the environment."""

    usual: ClassVar[tuple[str, ...]] = (
        *("what", "data", "split", "image", "output", "limit", "pictures", "assigner", "what_if", "device"),
        *("loading.batch_size", "loading.workers", "loading.skip_bad"),
    )
    """The options that --help shows."""

    def run(self, console: Console) -> None:
        """Explain a checkpoint or a run, and write the files."""
        from paa.runtime.files import check_folder

        for option, value, least, most in (
            ("limit", self.limit, 1, _MOST_SHOWN),
            ("pictures", self.pictures, 0, _MOST_SHOWN),
        ):
            if not least <= value <= most:
                raise ConfigError(f"--{option} must be from {least} to {most}, got {value}")
        check_folder(self.output)
        if self.what.is_dir():
            self._explain_run(console)
            return
        if self.data is None:
            raise ConfigError("--data is missing: the data set whose objects are explained")
        self._explain_checkpoint(self.data, console)

    def _explain_run(self, console: Console) -> None:
        from paa.report.run_explanation import write_run

        if self.data is not None:
            some = next((f", such as {path}" for path in sorted(self.what.glob("*.pt"))), "")
            raise ConfigError(f"{self.what}: a folder; --data goes with a checkpoint{some}")
        if self.assigner is not None:
            raise ConfigError("--assigner goes with a checkpoint: a run's folder has what its own rule made positive")
        plain = Explain(self.what)
        for name in _OF_A_CHECKPOINT:
            if attrgetter(name)(self) != attrgetter(name)(plain):
                option = "--" + _OPTIONS.get(name, name.removeprefix("loading.").replace("_", "-"))
                raise ConfigError(f"{option} goes with a checkpoint, and {self.what} is the folder of a run")
        for written in write_run(self.what, self.output, self.image or ()):
            console.print(f"written: {written}", markup=False, highlight=False)

    def _explain_checkpoint(self, data: Path, console: Console) -> None:
        from paa.data.left_out import LEFT_OUT, LeftOut
        from paa.data.read_report import ReadReport
        from paa.report.explanation import PAGE, write_pictures
        from paa.report.html.assignment_page import write_assignment_page

        limit_pixels(self.max_pixels)
        report = ReadReport(self.loading.skip_bad)
        model = self._load()
        rule = self._rule_text(model)
        index = self._read(data, model, report)
        explained, left_out = self._explain(model, index, str(data), rule, console)
        write_assignment_page(self.output / PAGE, explained)
        write_pictures(self.output, explained.shown[: self.pictures], index)
        file = LeftOut(self.output / LEFT_OUT)
        file.add(self.split, [*report.left_out, *left_out])
        file.write()
        self._print(console, explained)

    def _load(self) -> PAA:
        from paa.export.detector import ExportedDetector
        from paa.predictor import load

        model = load(self.what, self.device, format=self.checkpoint_format)
        if isinstance(model, ExportedDetector):
            raise ConfigError(f"{self.what}: an exported model has no anchors; name the checkpoint that it was made of")
        return model

    def _rule_text(self, model: PAA) -> str:
        """Return the rule that is asked for, or that of the training, but no code that the checkpoint alone names."""
        from paa.assigners.rule_text import rule_of_training

        return rule_of_training(model.provenance, self.what) if self.assigner is None else self.assigner

    def _read(self, data: Path, model: PAA, report: ReadReport) -> DatasetIndex:
        from paa.data.read import read_dataset
        from paa.inspection.selection import Wanted, select

        index = read_dataset(
            data,
            self.split,
            self.format,
            images=self.images,
            names=model.names,
            allow_outside=self.allow_outside,
            report=report,
        )
        if self.image is None:
            return index
        for wanted in self.image:
            if not len(select(index, Wanted(images=(wanted,)))[0]):
                raise ConfigError(f"{data}: split {self.split} has no image with the name or id {wanted!r} (--image)")
        return index.select(select(index, Wanted(images=self.image))[0])

    def _explain(
        self, model: PAA, index: DatasetIndex, data: str, rule_text: str, console: Console
    ) -> tuple[Explained, list[str]]:
        """Write assignment.json; return what the page shows, and a line for each image that could not be read."""
        from paa.assigners import make_assigner
        from paa.explanation import explain, other_rules
        from paa.report.explanation import write_numbers
        from paa.report.progress import progress_bar

        rule = make_assigner(rule_text)
        left_out: list[str] = []
        with progress_bar(console, "images", len(index)) as advance:
            objects = explain(
                model,
                index,
                rule,
                other_rules(rule) if self.what_if else None,
                self.loading,
                advance=advance,
                leave_out=left_out.extend,
            )
            explained = write_numbers(
                self.output,
                objects,
                index,
                (str(self.what), data, self.split, rule_text),
                self.limit,
                lambda: len(index) - len(left_out),
            )
        for line in left_out:
            logging.getLogger("paa").info(line)
        return explained, left_out

    def _print(self, console: Console, explained: Explained) -> None:
        from paa.report.explanation_tables import group_rows, what_if_rows
        from paa.report.tables import rich_table

        summary = explained.summary
        if rows := group_rows([*summary.sizes, summary.whole], (), "size"):
            console.print(rich_table(rows, f"positives per object, rule {explained.rule}"))
        if rows := what_if_rows(summary):
            console.print(rich_table(rows, "what if"))
        console.print(f"written to {self.output}", markup=False)
