"""The cells of a study: one training run for each data set, rule, budget and seed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from paa.errors import ConfigError
from paa.study.file import Study
from paa.training.options import config_of_values
from paa.training.settings import TrainConfig


@dataclass(frozen=True)
class Cell:
    """One run of a study, by the names that the study gives."""

    data: str
    rule: str
    epochs: float
    seed: int

    @property
    def folder(self) -> Path:
        """The folder of the cell in that of the study."""
        return folder_of(self.data, self.epochs) / self.rule / f"seed-{self.seed}"

    def __str__(self) -> str:
        return f"{self.rule} on {self.data}, {self.epochs:g} epochs, seed {self.seed}"


def folder_of(data: str, epochs: float) -> Path:
    """Return the folder of a data set and budget in that of the study."""
    return Path(data) / f"{epochs:g}-epochs"


def cells_of(study: Study) -> list[Cell]:
    """Return the cells in the order in which they are run: each budget and seed with all rules on all sets, in turn."""
    return [
        Cell(data.name, rule.name, epochs, seed)
        for epochs in study.epochs
        for seed in study.seeds
        for data in study.data
        for rule in study.rules
    ]


def cells_in(folder: Path) -> list[Cell]:
    """Return the cells that have a folder in that of a study, of this or an earlier version of its file."""
    found = []
    for path in sorted(folder.glob("*/*-epochs/*/seed-*")):
        data, epochs, rule, seed = path.relative_to(folder).parts
        with suppress(ValueError):  # of a folder that is no cell's
            found.append(Cell(data, rule, float(epochs.removesuffix("-epochs")), int(seed.removeprefix("seed-"))))
    return found


def config_of(study: Study, cell: Cell) -> TrainConfig:
    """Return the configuration of a cell's run; ConfigError, which names the study's file, for invalid values."""
    data = next(each for each in study.data if each.name == cell.data)
    rule = next(each for each in study.rules if each.name == cell.rule)
    groups = {
        **study.groups,
        "data": data.values,
        "schedule": {**study.groups["schedule"], "epochs": cell.epochs},
        "runtime": {**study.groups["runtime"], "seed": cell.seed},
    }
    try:
        config = config_of_values(
            study.recipe,
            groups,
            batch_size=study.batch_size,
            init=study.init,
            init_format=study.init_format,
            assigner=rule.text,
        )
    except ConfigError as error:
        raise ConfigError(f"{study.file}: {error}") from error
    if config.validation.batch_size > 0:
        return config
    # the images to test on are the study's, and no option of a run that does not look at them
    return replace(config, named=tuple(name for name in config.named if not name.startswith("data.val_")))
