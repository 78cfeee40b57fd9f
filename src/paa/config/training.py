"""How a detector is trained: recipe, validation, the machine's part, what a person says of the model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from paa.config.checks import check
from paa.config.data import WorkerConfig
from paa.config.inference import TilesConfig
from paa.config.model import ModelConfig
from paa.config.names import Compilation, LoggerName, Precision


@dataclass(frozen=True)
class TrainTilesConfig(TilesConfig):
    """Tiles to train on, and for the detections of a validation."""

    empty: float = 0.5
    """Most tiles without objects to train on, for each tile with objects; drawn from all of them."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid value."""
        super().__post_init__()
        check("tiles.", ("empty", self.empty, "at least 0", 0 <= self.empty < math.inf))


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
    prior_probability: float = 0.01
    """Probability that every class of every anchor starts with (Lin et al. 2017), where they start fresh."""
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
class ValidationConfig:
    """Evaluation during training."""

    batch_size: int = 8
    """Images at a time in validation, in each process; 0: no validation."""
    interval: int = 0
    """Steps between validations; 0: about ten in the whole run. The last step is always validated."""
    limit: int | None = None
    """Validate on this many images only, the first ones; default: all."""
    voting: bool = True
    """Score voting (paper, section 3.4)."""
    patience: int | None = None
    """Stop after this many validations in a row without a higher AP than before; default: never."""


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


@dataclass(frozen=True)
class CardConfig:
    """What only a person can say of a model, for the model card that is written beside a run."""

    license: str | None = None
    """Licence of the weights, under the hub's name for it, as apache-2.0; default: the card says that none is given."""
    datasets: tuple[str, ...] = ()
    """Names of the data sets on the Hugging Face hub, as someone/raccoons; default: the card has the folder's name."""
