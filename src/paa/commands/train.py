"""paa train: train a detector on a data set."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args, get_type_hints

import tyro
from tyro.conf import AvoidSubcommands, Suppress, SuppressFixed, arg

from paa.config import (
    AugmentConfig,
    CardConfig,
    DataConfig,
    ModelConfig,
    Recipe,
    RuntimeConfig,
    ScheduleConfig,
    TrainTilesConfig,
    ValidationConfig,
    WeightsFormat,
)
from paa.errors import ConfigError
from paa.recipes import find_recipe

if TYPE_CHECKING:
    from rich.console import Console

    from paa.training.settings import TrainConfig


@dataclass(frozen=True)
class DataOptions(DataConfig):
    """`DataConfig`, with the names of its options where these differ from its fields."""

    path: Annotated[Path, arg(name="data")]


@dataclass(frozen=True)
class ValidationOptions(ValidationConfig):
    """`ValidationConfig`, with the names of its options where these differ from its fields."""

    batch_size: Annotated[int, arg(name="val-batch-size")] = ValidationConfig.batch_size
    interval: Annotated[int, arg(name="val-interval")] = ValidationConfig.interval
    limit: Annotated[int | None, arg(name="val-num")] = ValidationConfig.limit


@dataclass(frozen=True)
class TrainTileOptions(TrainTilesConfig):
    """`TrainTilesConfig` without its size, which is the option --tiles."""

    size: Suppress[int] = 1024


@dataclass(frozen=True)
class Train:
    """Train a detector on a data set. Options that start with model, augment or schedule override the recipe."""

    data: Annotated[DataOptions, arg(name="")]
    recipe: str = "auto"
    """Named configuration, or a file such as a run's recipe.json."""
    output: Path | None = None
    """Folder of the run; default: runs/RECIPE-DATA."""
    batch_size: int = 16
    """Images of a step, over all processes."""
    accumulate: int = 1
    """Parts of a step, for less memory; the result is the same but for trained batch norm."""
    resume: str | None = None
    """Resume the run in --output from its last checkpoint, or from the one named here."""
    init: str | None = None
    """Weights to start from: a file of a detector or a backbone, or a name (paa weights lists them)."""
    init_format: WeightsFormat | None = None
    """Format of that file; default: recognised from what the file holds."""
    assigner: str = "paa"
    """The rule that decides which anchors are positive for which object: paa, highest-iou, centre-sampling, atss,
    simota, task-aligned, one-to-one, also with parameters, as 'atss(per_level=5)'; or your own, FILE.py:NAME."""
    teacher: str | None = None
    """Let the predictions of this trained detector decide the assignment: a file, or a name of a detector."""
    tiles: int | None = None
    """Train on tiles of this many pixels a side, for small objects in large images (--tiles.*)."""
    named: Suppress[tuple[str, ...]] = ()
    """The options that a person named; itself not an option."""
    validation: Annotated[ValidationOptions, arg(name="")] = field(default_factory=ValidationOptions)
    runtime: Annotated[RuntimeConfig, arg(name="")] = field(default_factory=RuntimeConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AvoidSubcommands[SuppressFixed[AugmentConfig]] = field(default_factory=AugmentConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    tiling: Annotated[TrainTileOptions, arg(name="tiles")] = field(default_factory=TrainTileOptions)
    card: CardConfig = field(default_factory=CardConfig)

    usual: ClassVar[tuple[str, ...]] = (
        "data.path",
        "data.val_data",
        "data.val_fraction",
        "data.skip_bad",
        "recipe",
        "output",
        "batch_size",
        "accumulate",
        "resume",
        "init",
        "validation.patience",
        "runtime.device",
        "runtime.precision",
        "runtime.workers",
        "tiles",
        "model.backbone",
        "model.min_size",
        "augment.min_sizes",
        "schedule.epochs",
        "schedule.lr",
    )
    """The options that --help shows."""

    @classmethod
    def of_recipe(cls, recipe: str, named: tuple[str, ...]) -> Train:
        """Return the command with a recipe's values, before its options are parsed."""
        values = find_recipe(recipe)
        tiles = values.augment.tiles
        return cls(
            DataOptions(tyro.MISSING),
            recipe=recipe,
            batch_size=values.schedule.reference_batch,
            model=values.model,
            augment=replace(values.augment, tiles=None),
            schedule=values.schedule,
            init=values.init,
            assigner=values.assigner,
            teacher=values.teacher,
            runtime=RuntimeConfig(precision=values.precision),
            tiles=None if tiles is None else tiles.size,
            tiling=TrainTileOptions() if tiles is None else TrainTileOptions(**vars(tiles)),
            named=named,
        )

    def run(self, console: Console) -> None:
        """Train, and say where the checkpoints are; a run that is interrupted ends with its own exit code."""
        from paa.report.progress import TrainingProgress
        from paa.runtime.distributed import LostProcessError, start
        from paa.runtime.elastic import wait_for_restart
        from paa.runtime.stop_signals import StoppedError, StopSignals
        from paa.training.train import train

        with StopSignals().handled() as signals:
            try:
                with start(self.runtime.device, self.runtime.process_timeout) as process:
                    result = train(self._config(), process, TrainingProgress(console), signals)
            except StoppedError as error:
                if process.first:
                    when = str(error) or "before the first step"
                    print(f"paa: interrupted by {signals.name} {when}", file=sys.stderr)
                sys.exit(signals.exit_code)
            except LostProcessError as error:
                if not wait_for_restart(signals, str(error)):
                    raise
                sys.exit(signals.exit_code)
            if result.interrupted:
                if signals.elsewhere:
                    wait_for_restart(signals, f"another process got {signals.elsewhere}")
                sys.exit(signals.exit_code)
            if process.first:
                best = f" and {result.best}" if result.best else ""
                console.print(f"checkpoints: {result.last}{best}", markup=False)

    def _config(self) -> TrainConfig:
        from paa.training.options import build_config

        return build_config(
            self.recipe,
            Recipe(
                self.model,
                self._augment(),
                self.schedule,
                self.init,
                assigner=self.assigner,
                teacher=self.teacher,
            ),
            DataConfig(**vars(self.data)),
            ValidationConfig(**vars(self.validation) | {"batch_size": max(self.validation.batch_size, 0)}),
            self.runtime,
            output=self.output,
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            resume=None if self.resume is None else "last" if self.resume == "last" else Path(self.resume),
            init=self.init,
            init_format=self.init_format,
            card=self.card,
            named=[_FIELDS.get(name, name) for name in self.named],
        )

    def _augment(self) -> AugmentConfig:
        """Return the augmentation, with tiles if a size is given; ConfigError for unused options."""
        if self.tiles is not None:
            return replace(self.augment, tiles=TrainTilesConfig(**vars(self.tiling) | {"size": self.tiles}))
        if any(name.startswith("tiles.") for name in self.named):
            raise ConfigError("the options --tiles.* need --tiles SIZE")
        return self.augment


def _fields_of_options(group: str, kind: type) -> dict[str, str]:
    """Return option -> field for a configuration whose options have no prefix."""
    hints: dict[str, Any] = get_type_hints(kind, include_extras=True)
    names = {}
    for each in fields(kind):
        given = [extra for extra in get_args(hints[each.name])[1:] if hasattr(extra, "name")]
        option = given[0].name if given else each.name
        names[option.replace("-", "_")] = f"{group}.{each.name}"
    return names


_FIELDS = {
    **_fields_of_options("data", DataOptions),
    **_fields_of_options("validation", ValidationOptions),
    **_fields_of_options("runtime", RuntimeConfig),
    **dict.fromkeys(["tiles", *(f"tiles.{each.name}" for each in fields(TrainTilesConfig))], "augment.tiles"),
}
