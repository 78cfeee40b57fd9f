"""The types of a configuration: frozen, built once at the edge, never passed on as a bag."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from paa.errors import ConfigError

CAFFE_MEAN = (122.7717, 115.9465, 102.9801)
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

DataFormat = Literal["coco", "voc", "yolo"]
"""Formats of data sets: those of `paa.data.read.FORMATS`."""

FileTransfer = Literal["copy", "link", "hardlink"]
"""How image files get into a new data set: as copies, symbolic links to the files, or hard links."""

WeightsFormat = Literal["paa", "seed", "official", "mmdet", "caffe2", "torchvision", "timm"]
"""Formats of files of weights: those of `paa.weights.read.FORMATS`."""

Precision = Literal["float32", "bfloat16", "auto"]
"""Precision of the network; bfloat16: by autocast; auto: bfloat16 where the device has instructions for it."""

PredictionOutput = Literal["images", "coco", "yolo", "csv", "parquet"]

LoggerName = Literal["tensorboard", "mlflow", "wandb"]
"""Where the numbers of a run may go beside its log.jsonl: one file of `paa/training/loggers` each."""

AssignerName = Literal["paa", "highest-iou", "centre-sampling", "atss", "simota", "task-aligned", "one-to-one"]
"""Assignment rules: those of `paa.assigners.ASSIGNERS`."""

Compilation = Literal["off", "default", "reduce-overhead", "max-autotune"]
"""torch.compile's modes; reduce-overhead uses CUDA graphs."""

CANDIDATE_THRESHOLD = 0.05
"""The paper's class probability above which an anchor is a candidate."""

_LIMIT = 100_000  # of an image; as many slots are in memory


@dataclass(frozen=True)
class ModelConfig:
    """The configuration of a detector, which its checkpoints hold."""

    backbone: str = "resnet50"
    """resnet18 to resnet152, resnext101_32x8d or 64x4d, resnext152_32x8d, timm/NAME."""
    norm: Literal["frozen", "affine", "batch"] = "frozen"
    """frozen: batch norm's statistics and weights never change; affine: only its weights are trained, for pre-trained
    backbones; batch: all is trained, for training from scratch."""
    norm_eps: float = 1e-5
    """Batch norm's epsilon; 0 in the seed's and the official checkpoints."""
    stride_in_1x1: bool = False
    """Stride in a bottleneck's first 1x1 convolution (MSRA, Caffe2) instead of its 3x3."""
    dcn_stages: tuple[int, ...] = ()
    """Stages (3, 4, 5 for c3..c5) of a ResNet or ResNeXt whose 3x3 convolutions are deformable (DCNv2)."""
    channels: int = 256
    """Width of the FPN and of the towers."""
    tower_depth: int = 4
    """Convolutions in each tower."""
    tower_dcn: bool = False
    """Deformable convolution in each tower's last layer."""
    first_level: int = 3
    """The pyramid's finest level: 3 (P3, of stride 8) as in the paper, or 2 (P2, of stride 4), for small objects."""
    p7_relu: bool = True
    """P7 from relu(P6); MMDetection's models have no relu."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Subtracted from the pixels (0..255), red, green, blue."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Divides the pixels, red, green, blue."""
    bgr: bool = False
    """Feed the channels in the order blue, green, red (Caffe2's weights)."""
    anchor_scale: float = 8.0
    """Side of an anchor, in strides of its level: 8 (64 to 1024 pixels), or less for smaller objects."""
    anchor_offset: float = 0.5
    """Centre of a cell in strides: 0.5, or 0 for MMDetection's checkpoints."""
    legacy: bool = False
    """The seed's and the official code's inclusive pixels, in anchors, the GIoU loss and resizing."""
    threshold_joint: bool = False
    """The score threshold applies to the joint score (MMDetection), not to the class probability."""
    min_size: int = 800
    """Short side, in pixels, to which images are resized for detection."""
    max_size: int = 1333
    """Cap on their longer side."""

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides of the pyramid's levels, the finest first: from P3 (or P2) to P7."""
        return tuple(2**level for level in range(self.first_level, 8))


@dataclass(frozen=True)
class TilesConfig:
    """Overlapping tiles of large images, each looked at like an image of its own, so that small objects stay large."""

    size: int
    """Side of a tile, in pixels of the original image; each tile is resized as a whole image is."""
    overlap: float = 0.2
    """Least share of its side that a tile has in common with the next. An object up to this long is whole in a tile."""
    whole: bool = True
    """The whole image is one more view, for the objects that are longer than the overlap."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid value."""
        _check(
            "tiles.",
            ("size", self.size, "at least 32 pixels", self.size >= 32),
            ("overlap", self.overlap, "from 0 to 0.9", 0 <= self.overlap <= 0.9),
        )

    @property
    def shared_pixels(self) -> int:
        """The least number of pixels that neighbouring tiles share."""
        return math.ceil(round(self.size * self.overlap, 6))  # rounded: 0.1 x 30 is not more than 3


@dataclass(frozen=True)
class TrainTilesConfig(TilesConfig):
    """Tiles to train on, and for the detections of a validation."""

    empty: float = 0.5
    """Most tiles without objects to train on, for each tile with objects; drawn from all of them."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid value."""
        super().__post_init__()
        _check("tiles.", ("empty", self.empty, "at least 0", 0 <= self.empty < math.inf))


@dataclass(frozen=True)
class AugmentConfig:
    """How images are resized, augmented and repeated for training; all sizes in pixels."""

    min_sizes: tuple[int, ...] = (800,)
    """One short side, or the two ends of a range."""
    max_size: int = 1333
    """Cap on the longer side."""
    hflip: float = 0.5
    """Probability of a horizontal flip."""
    scale_jitter: tuple[float, float] | None = None
    """Random zoom between these factors, with random crops (for training from scratch); none by default."""
    color_jitter: float = 0.0
    """Strength of random brightness, contrast and saturation; 0 is off."""
    mosaic: float = 0.0
    """Probability that an image is put together of parts of four, but for the last fifth of a run; 0 is off."""
    repeat_threshold: float = 0.0
    """Take images of a class more often if fewer than this share of the images have it (repeat-factor sampling); 0 is
    off. The schedule's epochs still count each image once."""
    tiles: TrainTilesConfig | None = None
    """Tiles of the images to train on instead of whole images, and to validate with; none by default."""


@dataclass(frozen=True)
class ScheduleConfig:
    """The optimisation, written for `reference_batch` images a step and scaled to a run's batch size; a value that a
    person sets is used as it is."""

    steps: int = 90_000
    """Optimizer steps; if you set them, exactly that many, otherwise scaled so that as many images are seen."""
    epochs: float | None = None
    """Passes over the data set, instead of steps; the decays keep their share of the run."""
    decays: tuple[int, ...] = (60_000, 80_000)
    """Steps at which the learning rate falls to a tenth; unless you set them, they keep their share of the run."""
    reference_batch: int = 16
    """Batch size for which learning rate, steps and decays are written; if you set it, the values of these that you
    set are scaled too."""
    lr: float = 0.01
    """Learning rate; if you set it, exactly that, otherwise scaled with the batch size."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum 0.9, or AdamW."""
    weight_decay: float = 1e-4
    """Decay of weights; biases and trained batch norm have none, and with AdamW no vector has any."""
    bias_lr_factor: float = 2.0
    """The learning rate of biases, as a multiple of that of weights."""
    backbone_lr_factor: float = 1.0
    """The learning rate of the backbone, as a multiple of that of the rest; below 1 for pre-trained backbones."""
    warmup_steps: int = 500
    """First steps at a lower learning rate, whatever the batch size; unless you set them, at most a quarter of the
    run."""
    warmup_factor: float = 1 / 3
    """The learning rate during a constant warm-up, and at the start of a linear one, as a share of the full one."""
    warmup: Literal["constant", "linear"] = "constant"
    """constant: a lower learning rate during the warm-up; linear: one that rises to the full one."""
    shape: Literal["step", "cosine"] = "step"
    """The learning rate after the warm-up; step: a tenth at each decay; cosine: down to zero along a cosine."""
    frozen_stages: int = 2
    """Backbone stages that are not trained: 0 none, 1 the stem, 2 stem and first stage, ..."""
    clip_norm: float | None = None
    """Clip the gradients to this norm; none by default."""
    ema: float | None = None
    """Decay of the moving average of the weights that is evaluated and saved, at most (1 + step) / (10 + step), so that
    a short run has an average too; none by default."""


@dataclass(frozen=True)
class Recipe:
    """A model, how its images are augmented, its optimisation, the weights it starts from, and the precision."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The detector."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Resizing and augmentation."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Optimizer and learning rate."""
    init: str | None = None
    """Weights to start from, unless a person names others; none in recipes that leave the choice to the person."""
    precision: Precision = "float32"
    """Precision of the network in training, unless a person names another."""
    assigner: str = "paa"
    """The rule that decides which anchors are positive: an `AssignerName`, also with parameters, as atss(per_level=5),
    or FILE.py:NAME, a rule of a person's own."""
    teacher: str | None = None
    """A trained detector whose predictions decide the assignment; none: those of the detector that is trained."""


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
class CardConfig:
    """What only a person can say of a model, for the model card that is written beside a run."""

    license: str | None = None
    """Licence of the weights, under the hub's name for it, as apache-2.0; default: the card says that none is given."""
    datasets: tuple[str, ...] = ()
    """Names of the data sets on the Hugging Face hub, as someone/raccoons; default: the card has the folder's name."""


@dataclass(frozen=True)
class ValidationConfig:
    """Evaluation during training."""

    batch_size: int = 8
    """Images at a time in validation, in each process; 0: no validation."""
    interval: int = 0
    """Steps between validations; 0: ten in the whole run. The last step is always validated."""
    limit: int | None = None
    """Validate on this many images only, the first ones; default: all."""
    voting: bool = True
    """Score voting (paper, section 3.4)."""
    patience: int | None = None
    """Stop after this many validations in a row without a higher AP than before; default: never."""


@dataclass(frozen=True)
class MultiScaleConfig:
    """Multi-scale testing: the views beside the ordinary one, and how all are merged; defaults of the official code."""

    scales: tuple[int, ...] = (400, 500, 600, 640, 700, 900, 1000, 1100, 1200, 1300, 1400, 1800)
    """Short sides, in pixels, to which images are resized."""
    windows: tuple[tuple[int, int], ...] = (
        *((96, 10000),) * 2,
        *((64, 10000),) * 3,
        *((0, 10000),) * 2,
        *((0, 256),) * 2,
        *((0, 192),) * 2,
        (0, 96),
    )
    """For each scale, two sides of squares, in the resized image's pixels: boxes count whose area is between theirs."""
    max_size: int = 3000
    """Cap on the longer side; views smaller than the ordinary one have the ordinary one's cap."""
    mirror: bool = True
    """Every view mirrored too, the ordinary one included."""
    merge: Literal["vote", "soft-vote"] = "soft-vote"
    """vote: boxes that overlap become their weighted mean; soft-vote: the others stay too, with lower scores."""
    iou: float = 0.66
    """Least IoU at which boxes of the same class are merged."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid value."""
        scales, windows = self.scales, self.windows
        _check(
            "views.",
            ("scales", scales, "at least 1", all(min_size >= 1 for min_size in scales)),
            ("windows", windows, f"one pair for each of the {len(scales)} views.scales", len(windows) == len(scales)),
            ("windows", windows, "at least 0, the lower first", all(0 <= low < high for low, high in windows)),
            ("max_size", self.max_size, "at least 1", self.max_size >= 1),
            ("merge", self.merge, "vote or soft-vote", self.merge in ("vote", "soft-vote")),
            ("iou", self.iou, "above 0 and at most 1", 0 < self.iou <= 1),
        )


@dataclass(frozen=True)
class InferenceConfig:
    """How detections are made from images; defaults of the paper."""

    threshold: float = 0.0
    """Least score of a detection; COCO's numbers are taken at 0, where all detections count."""
    candidate_threshold: float | None = None
    """Class probability (in MMDetection's models, score) above which an anchor takes part in NMS and voting; by
    default 0.05, or the threshold where that is between 0 and 0.05."""
    voting: bool = True
    """Score voting (paper, section 3.4)."""
    nms_iou: float = 0.6
    """A box is removed when a better one of its class overlaps it by more than this IoU."""
    max_detections: int = 100
    """Most detections of an image; above 100, COCO's numbers too count that many of each class and image."""
    views: MultiScaleConfig | None = None
    """The further views of multi-scale testing; none by default."""
    tiles: TilesConfig | None = None
    """Tiles in which images are looked at; none by default."""
    precision: Precision = "float32"
    """bfloat16: autocast; auto: bfloat16 where the device has instructions for it."""
    compile: Compilation = "off"
    """torch.compile in this mode (reduce-overhead: CUDA graphs); takes minutes at the start."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid value."""
        if self.views is not None and self.tiles is not None:
            raise ConfigError("tiles and multi-scale testing cannot be combined: choose one of them")
        candidate = self.effective_candidate_threshold
        _check(
            "",
            ("threshold", self.threshold, "from 0 to 1", 0 <= self.threshold <= 1),
            ("candidate_threshold", candidate, "from 0 to 1", 0 <= candidate <= 1),
            ("nms_iou", self.nms_iou, "from 0 to 1", 0 <= self.nms_iou <= 1),
            (
                "max_detections",
                self.max_detections,
                f"from 1 to {_LIMIT}",
                1 <= self.max_detections <= _LIMIT,
            ),
            ("precision", self.precision, ", ".join(get_args(Precision)), self.precision in get_args(Precision)),
            ("compile", self.compile, ", ".join(get_args(Compilation)), self.compile in get_args(Compilation)),
        )

    @property
    def effective_candidate_threshold(self) -> float:
        """The candidate threshold, or the default; the default never hides a detection that `threshold` asks for."""
        if self.candidate_threshold is not None:
            return self.candidate_threshold
        return min(CANDIDATE_THRESHOLD, self.threshold) if self.threshold else CANDIDATE_THRESHOLD


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


@dataclass(frozen=True)
class RuntimeConfig(WorkerConfig):
    """Where a run computes, how fast, and what it logs; only precision and seed change what is learned."""

    device: str | None = None
    """cpu, cuda, cuda:1, ...; default: a GPU if there is one."""
    precision: Precision = "float32"
    """Network precision; auto: bfloat16 where the device has instructions for it."""
    channels_last: bool = True
    """Memory layout of the convolutions."""
    fast_convolutions: bool = True
    """On CPUs in float32: 3x3 convolutions by Winograd's method, with a quarter of the multiplications and two or three
    bits less precision, and faster gradients of strided convolutions."""
    compile: Compilation = "off"
    """torch.compile of network and losses, in this mode (reduce-overhead: CUDA graphs); takes minutes at the start."""
    seed: int = 0
    """Seed of weights, shuffling and augmentation."""
    log_interval: int = 20
    """Steps between lines of the log."""
    assignment_interval: int | None = None
    """Steps between looks at the assignment of a few fixed images, rounded up to lines of the log; 0: none; default:
    50, or a 200th of a long run."""
    loggers: tuple[LoggerName, ...] = ("tensorboard",)
    """Where the numbers go beside log.jsonl: TensorBoard's files, if it is installed, MLflow, Weights & Biases."""
    checkpoint_interval: int = 1000
    """Steps between checkpoints, beside those before and after a validation."""
    process_timeout: float | None = None
    """Seconds after which a process that waits for another gives up; default: torch's, 1800 on CPUs, 600 on GPUs."""
    max_hours: float | None = None
    """Save a checkpoint and end before the run takes longer than this many hours."""
    max_bad_steps: int = 10
    """Steps in a row that may be skipped, as their loss or gradient is not finite; one more ends the run."""
    deterministic: bool = False
    """Compute the same bits in every run on one machine, also on a GPU, where this takes longer."""


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as plain dictionaries, lists, strings and numbers, for a checkpoint or JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, (tuple, list)):
            return [plain(v) for v in value]
        return str(value) if isinstance(value, Path) else value

    result: dict[str, Any] = plain(dataclasses.asdict(config))
    return result


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, with names like `model.backbone`."""
    names: dict[str, Any] = {}
    for name, value in values.items():
        names.update(flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value})
    return names


def model_config(values: dict[str, Any]) -> ModelConfig:
    """Build a `ModelConfig` from the result of `to_dict`; ConfigError names an unknown or misshapen field."""
    hints = get_type_hints(ModelConfig)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ConfigError(f"model configuration has unknown fields: {', '.join(unknown)}")
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    for name, default in vars(ModelConfig()).items():
        given = fields.get(name, default)
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        right = isinstance(given, kinds) and isinstance(given, bool) == isinstance(default, bool)
        numbers = given if name in ("mean", "std") and isinstance(given, tuple) else ()
        right = right and (name not in ("mean", "std") or [type(n) in (int, float) for n in numbers] == [True] * 3)
        if not right:
            raise ConfigError(f"model configuration: {name} cannot be {given!r}")
    config = ModelConfig(**fields)
    check_model(config)
    return config


def check_model(config: ModelConfig) -> None:
    """Raise ConfigError for invalid values, and for sizes far beyond any sensible model's."""
    most = 10_000
    _check(
        "model.",
        ("norm", config.norm, "frozen, affine or batch", config.norm in ("frozen", "affine", "batch")),
        ("channels", config.channels, f"from 1 to {most}", 1 <= config.channels <= most),
        ("first_level", config.first_level, "2 or 3", config.first_level in (2, 3)),
        ("tower_depth", config.tower_depth, "from 0 to 100", 0 <= config.tower_depth <= 100),
        ("norm_eps", config.norm_eps, "from 0 to 1", 0 <= config.norm_eps <= 1),
        ("norm_eps", config.norm_eps, "above 0 in trained batch norm", config.norm != "batch" or config.norm_eps > 0),
        ("mean", config.mean, "finite", all(math.isfinite(v) for v in config.mean)),
        ("std", config.std, "above 0", all(0 < v < math.inf for v in config.std)),
        ("anchor_scale", config.anchor_scale, "from 0.5 to 32", 0.5 <= config.anchor_scale <= 32),
        ("anchor_offset", config.anchor_offset, "from 0 to 1", 0 <= config.anchor_offset <= 1),
        ("min_size", config.min_size, f"from 1 to {most}", 1 <= config.min_size <= most),
        ("max_size", config.max_size, f"from 1 to {most}", 1 <= config.max_size <= most),
    )


def _check(prefix: str, *rules: tuple[str, object, str, bool]) -> None:
    """Raise ConfigError for the first rule that does not hold: (field, value, expected, whether it holds)."""
    for name, given, expected, holds in rules:
        if not holds:
            raise ConfigError(f"{prefix}{name} must be {expected}, got {given}")
