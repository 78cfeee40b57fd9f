"""paa train: train a detector on a data set."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Suppress, arg

from paa.commands.options import Format
from paa.config import (
    AugmentConfig,
    DataConfig,
    ModelConfig,
    Recipe,
    RuntimeConfig,
    ScheduleConfig,
    ValidationConfig,
    WeightsFormat,
)

if TYPE_CHECKING:
    from rich.console import Console

    from paa.training.settings import TrainConfig


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
    """Images of a step, over all processes; the recipe's learning rate, steps and decays scale with it."""
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
    """Resume the run in --output from its last checkpoint, or from the one named here."""
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
        from paa.training.train import train

        with start(self.runtime.device) as process:
            result = train(self._config(), process, TrainingProgress(console))
            if process.first:
                best = f" and {result.best}" if result.best else ""
                console.print(f"checkpoints: {result.last}{best}", markup=False)

    def _config(self) -> TrainConfig:
        from paa.training.options import build_config

        return build_config(
            self.recipe,
            Recipe(self.model, self.augment, self.schedule),
            DataConfig(
                path=self.data,
                format=self.format,
                train_split=self.train_split,
                val_split=self.val_split,
                val_data=self.val_data,
                keep_empty=self.keep_empty,
                skip_bad=self.skip_bad,
                images=self.images,
                val_images=self.val_images,
                max_pixels=self.max_pixels,
            ),
            ValidationConfig(max(self.val_batch_size, 0), self.val_interval, self.val_num, self.voting),
            self.runtime,
            output=self.output,
            batch_size=self.batch_size,
            resume=None if self.resume is None else "last" if self.resume == "last" else Path(self.resume),
            init=self.init,
            init_format=self.init_format,
            named=[_FIELDS.get(name, name) for name in self.named],
        )


_FIELDS = {
    **{field.name: f"data.{field.name}" for field in fields(DataConfig)},
    **{field.name: f"runtime.{field.name}" for field in fields(RuntimeConfig)},
    "data": "data.path",
    "val_batch_size": "validation.batch_size",
    "val_interval": "validation.interval",
    "val_num": "validation.limit",
    "voting": "validation.voting",
}
"""Option -> the field of the configuration that it sets, where their names differ."""
