"""Where images come from, and how they are loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from paa.config.names import DataFormat
from paa.errors import ConfigError


@dataclass(frozen=True)
class DataConfig:
    """The data sets for training and validation."""

    path: Path
    """The data set: a COCO JSON file, or the folder of a COCO, Pascal VOC or YOLO data set."""
    format: DataFormat | None = None
    """Format of the data set; default: recognised from what the path holds."""
    train_split: str = "train"
    """Split to train on."""
    val_split: str = "val"
    """Split to validate on. Where the data set lacks it and you name no other: a share of the training images."""
    val_data: Path | None = None
    """The data set of the validation split; default: the training data set."""
    keep_empty: bool = True
    """Train on images without objects too."""
    skip_bad: bool = False
    """Leave out unusable annotations and images (see left_out.txt) instead of stopping."""
    images: Path | None = None
    """Folder of the images; default: found from the annotations."""
    val_fraction: float = 0.15
    """Share of the training images to validate on, if there is no validation split."""
    val_images: Path | None = None
    """Folder of the validation images; default: that of the training images, unless another data set is named."""
    allow_outside: tuple[Path, ...] = ()
    """Folders outside of the data set that its files and links may lead to; / allows any."""
    max_pixels: int | None = None
    """Most pixels of an image; default: 178956970, or the environment variable PAA_MAX_PIXELS."""

    @property
    def name(self) -> str:
        """The name of the data set: that of its folder, or of its file without the suffix."""
        return data_name(self.path)


def data_name(path: Path) -> str:
    """Return the name of a data set: that of its folder, or of its file without the suffix."""
    return path.stem if path.is_file() or path.suffix.lower() == ".json" else path.resolve().name


@dataclass(frozen=True)
class WorkerConfig:
    """The processes that load images in advance."""

    workers: int = 2
    """Loader processes of each main process; 0: load in the main process."""
    worker_timeout: int = 300
    """Seconds without a batch after which loader processes count as hung; 0: no limit."""


@dataclass(frozen=True)
class LoadingConfig(WorkerConfig):
    """How the images of a data set are loaded for evaluation."""

    batch_size: int = 8
    """Images at a time in each process."""
    skip_bad: bool = False
    """Leave out annotations and images that cannot be used, instead of stopping; they are listed in the output folder's
    left_out.txt."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid value."""
        for name, value, least in (
            ("batch size", self.batch_size, 1),
            ("number of workers", self.workers, 0),
            ("worker timeout", self.worker_timeout, 0),
        ):
            if value < least:
                raise ConfigError(f"the {name} of an evaluation must be at least {least}, got {value}")


@dataclass(frozen=True)
class FetchConfig:
    """Limits for the images that are fetched from URLs."""

    max_mb: float = 50.0
    """Most megabytes of an image."""
    timeout: float = 60.0
    """Seconds after which an image that is not all there is given up."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid value."""
        for name, value in (("megabytes", self.max_mb), ("seconds", self.timeout)):
            if not 0 < value < math.inf:
                raise ConfigError(f"the most {name} of an image from a URL must be above 0, got {value}")
