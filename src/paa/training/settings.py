"""Training configuration and its validation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from paa.assigners import BY_ANCHORS, make_assigner
from paa.assigners.rule_text import name_of, parse_rule
from paa.config import CardConfig, DataConfig, Recipe, RuntimeConfig, ValidationConfig, WeightsFormat, check_model
from paa.core.assignment import Assigner
from paa.errors import ConfigError
from paa.training.loggers.open import check_loggers
from paa.training.schedule import Schedule


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of one training run."""

    data: DataConfig
    output: Path
    """Folder of the run: its configuration, log and checkpoints."""
    recipe: Recipe = field(default_factory=Recipe)
    batch_size: int = 16
    """Images of a step, over all processes; learning rate, steps and decays of the recipe scale with it."""
    accumulate: int = 1
    """Compute a step's batch in this many parts, one after the other, to need less memory."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    resume: Path | Literal["last"] | None = None
    """Resume a run: from this checkpoint, or from the last one in `output`."""
    init: str | None = None
    """Start from these weights: a file of a detector or a backbone, of any known format, or a name (`paa weights` lists
    them). The model follows the weights."""
    init_format: WeightsFormat | None = None
    """Format of that file; default: recognised from its content."""
    card: CardConfig = field(default_factory=CardConfig)
    """What the model card says that only a person knows."""
    recipe_name: str = ""
    """Name of the recipe, for messages."""
    auto: bool = False
    """Decide the recipe from the data set, the device and the weights at hand; fields that are named are kept."""
    named: tuple[str, ...] = ()
    """The fields that a person set, as `model.backbone`, `schedule.steps`, `runtime.workers` or `batch_size`: their
    values are used as they are, or refused; other values are adapted to the weights, the data and the batch size."""

    def named_in(self, part: str) -> tuple[str, ...]:
        """Return the named fields of a part of the configuration, such as "model"."""
        return tuple(name.removeprefix(f"{part}.") for name in self.named if name.startswith(f"{part}."))


def ineffective(config: TrainConfig, schedule: Schedule) -> list[str]:
    """Return a line for each named field that changes nothing in this run, with the reason."""
    recipe, runtime = config.recipe, config.runtime
    model = recipe.model
    late = [decay for decay in schedule.decays if decay >= schedule.steps]
    validation = (
        *("data.val_data", "data.val_split", "data.val_fraction", "data.val_images"),
        *("validation.interval", "validation.limit", "validation.voting", "validation.patience"),
    )
    rules: tuple[tuple[tuple[str, ...], bool, str], ...] = (
        (validation, config.validation.batch_size == 0, "there is no validation (validation.batch_size 0)"),
        (("init_format",), config.init is None, "there is no init"),
        (("runtime.worker_timeout",), runtime.workers == 0, "there are no loader workers (runtime.workers 0)"),
        (
            ("teacher",),
            name_of(recipe.assigner) in BY_ANCHORS,
            f"the rule {recipe.assigner} looks at no predictions",
        ),
        (("schedule.warmup", "schedule.warmup_factor"), schedule.warmup_steps == 0, "there is no warm-up"),
        (("schedule.decays",), bool(late), f"steps {late} are not before the last one, {schedule.steps}"),
        (("model.norm_eps",), model.backbone.startswith("timm/"), "timm's models have an epsilon of their own"),
        (
            ("runtime.fast_convolutions",),
            runtime.fast_convolutions and (runtime.compile != "off" or runtime.precision == "bfloat16"),
            "fast convolutions are for float32 without torch.compile",
        ),
    )
    return [
        f"{name} has no effect: {reason}"
        for names, applies, reason in rules
        for name in names
        if applies and name in config.named
    ]


def sizes_apart(config: TrainConfig) -> list[str]:
    """Return a line where a person named the image size of detection or of training alone, and the other is far off."""
    recipe = config.recipe
    given = {"model.min_size", "augment.min_sizes"} & set(config.named)
    low, high = recipe.augment.scale_jitter or (1.0, 1.0)
    sizes, size = recipe.augment.min_sizes, recipe.model.min_size
    if config.auto or recipe.augment.tiles is not None or len(given) != 1:
        return []
    if min(sizes) * low <= size <= max(sizes) * high:
        return []
    trained = " to ".join(map(str, sizes))
    return [f"trained on images of {trained} pixels (augment.min_sizes), detects in images of {size} (model.min_size)"]


def assigner_of(config: TrainConfig) -> Assigner:
    """Return the rule of a run; ConfigError if there is none, or if it is code that no person named.

    A recipe or checkpoint of somebody else's must not decide which code runs.
    """
    text = config.recipe.assigner
    if parse_rule(text).is_code and "assigner" not in config.named:
        raise ConfigError(
            f"the recipe's assignment rule, {text}, is code that would be run: if you trust it, name it yourself "
            f"(--assigner '{text}'); --assigner paa trains by the paper's rule"
        )
    return make_assigner(text)


def check_settings(config: TrainConfig, world: int) -> None:
    """Raise ConfigError for an invalid value; world: the number of processes."""
    check_model(config.recipe.model)
    check_loggers(config.runtime.loggers)
    augment, schedule = config.recipe.augment, config.recipe.schedule
    runtime, validation = config.runtime, config.validation
    least: dict[str, tuple[float, float | None]] = {
        "batch_size": (1, config.batch_size),
        "accumulate": (1, config.accumulate),
        "validation.batch_size": (0, validation.batch_size),
        "validation.interval": (0, validation.interval),
        "validation.limit": (1, validation.limit),
        "validation.patience": (1, validation.patience),
        "runtime.workers": (0, runtime.workers),
        "runtime.worker_timeout": (0, runtime.worker_timeout),
        "runtime.log_interval": (1, runtime.log_interval),
        "runtime.assignment_interval": (0, runtime.assignment_interval),
        "runtime.checkpoint_interval": (1, runtime.checkpoint_interval),
        "runtime.process_timeout": (1, runtime.process_timeout),
        "runtime.max_hours": (0, runtime.max_hours),
        "runtime.max_bad_steps": (0, runtime.max_bad_steps),
        "augment.min_sizes": (1, min(augment.min_sizes, default=None)),
        "augment.max_size": (1, augment.max_size),
        "augment.color_jitter": (0, augment.color_jitter),
        "schedule.steps": (1, schedule.steps),
        "schedule.reference_batch": (1, schedule.reference_batch),
        "schedule.lr": (0, schedule.lr),
        "schedule.weight_decay": (0, schedule.weight_decay),
        "schedule.bias_lr_factor": (0, schedule.bias_lr_factor),
        "schedule.backbone_lr_factor": (0, schedule.backbone_lr_factor),
        "schedule.decays": (0, min(schedule.decays, default=None)),
        "schedule.warmup_steps": (0, schedule.warmup_steps),
        "schedule.warmup_factor": (0, schedule.warmup_factor),
    }
    for name, (lowest, value) in least.items():
        if value is not None and not lowest <= value < math.inf:
            raise ConfigError(f"{name} must be at least {lowest}, got {value}")
    other = [name for name in ("data.val_split", "data.val_data", "data.val_images") if name in config.named]
    if other and "data.val_fraction" in config.named:
        raise ConfigError(f"data.val_fraction and {other[0]} contradict each other: set only one of them")
    zoom, epochs, clip = augment.scale_jitter or (1.0, 1.0), schedule.epochs, schedule.clip_norm
    rules: tuple[tuple[str, object, str, bool], ...] = (
        ("data.val_fraction", config.data.val_fraction, "between 0 and 1", 0 < config.data.val_fraction < 1),
        ("runtime.seed", runtime.seed, "from 0 to 2^63 - 1", 0 <= runtime.seed < 2**63),
        ("augment.min_sizes", augment.min_sizes, "one or two numbers", 1 <= len(augment.min_sizes) <= 2),
        (
            "schedule.prior_probability",
            schedule.prior_probability,
            "between 0 and 1",
            0 < schedule.prior_probability < 1,
        ),
        ("augment.hflip", augment.hflip, "from 0 to 1", 0 <= augment.hflip <= 1),
        ("augment.mosaic", augment.mosaic, "from 0 to 1", 0 <= augment.mosaic <= 1),
        ("augment.scale_jitter", zoom, "above 0, the lower first", 0 < zoom[0] <= zoom[1] < math.inf),
        ("augment.repeat_threshold", augment.repeat_threshold, "from 0 to 1", 0 <= augment.repeat_threshold <= 1),
        ("schedule.frozen_stages", schedule.frozen_stages, "from 0 to 5", 0 <= schedule.frozen_stages <= 5),
        ("schedule.steps", schedule.steps, "below 2^31", schedule.steps < 2**31),
        ("schedule.epochs", epochs, "above 0 and below 10^6", epochs is None or 0 < epochs < 10**6),
        ("schedule.clip_norm", clip, "above 0", clip is None or clip > 0),
        ("schedule.ema", schedule.ema, "between 0 and 1", schedule.ema is None or 0 < schedule.ema < 1),
    )
    for name, given, expected, good in rules:
        if not good:
            raise ConfigError(f"{name} must be {expected}, got {given}")
    if not config.auto or "batch_size" in config.named:  # otherwise it is not decided yet
        check_shares(config, world)


def check_shares(config: TrainConfig, world: int) -> None:
    """Raise ConfigError unless there is an image for each process, and for each part of its step."""
    shares = world * config.accumulate
    if config.batch_size < shares:
        of_what = "the processes" if config.accumulate == 1 else f"the processes ({world}) x accumulate"
        raise ConfigError(f"batch_size must be at least {shares}, {of_what}, got {config.batch_size}")
