"""One cell of a study: an ordinary training run, and what its last weights find."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paa.config import LoadingConfig, flat
from paa.data.images.decoders import limit_pixels
from paa.data.index import DatasetIndex
from paa.data.read import read_dataset
from paa.data.workers import worker_errors
from paa.errors import ConfigError
from paa.model.detector import Detector
from paa.model.prepare import prepare_for_device
from paa.runtime.distributed import Process
from paa.runtime.files import write_text
from paa.runtime.stop_signals import StopSignals
from paa.study.cells import Cell
from paa.study.evaluate import Numbers, evaluate_variants
from paa.study.json_file import read_json
from paa.study.positives import PositiveCounter, read_positives
from paa.training.many_runs import train_or_go_on
from paa.training.records import Listener, Record
from paa.training.run_data import is_one_file
from paa.training.run_folder import RunFolder, environment
from paa.training.settings import TrainConfig
from paa.weights.read import build, read_weights

RESULT, RUN = "cell.json", "run"
_POSITIVES = "positives.jsonl"
_POINTS = 12
"""Lines of positives over training that are kept in a result."""


@dataclass(frozen=True)
class CellResult:
    """What a cell found. images: to train and to test on. seconds: of training, as the log has them.

    variants: COCO's numbers, 0..1, by the names of `evaluate.VARIANTS`, of the last step's weights. positives: lines of
    `PositiveCounter`, joined so that they are few. recipe: all that the run was trained by.
    """

    data: str
    rule: str
    epochs: float
    seed: int
    images: tuple[int, int]
    steps: int
    seconds: float
    variants: dict[str, Numbers]
    positives: list[dict[str, Any]]
    recipe: dict[str, Any]
    environment: dict[str, Any]


def read_result(folder: Path) -> CellResult | None:
    """Return the result in a cell's folder; None where the cell is not finished. RunError for a damaged file."""
    return read_json(folder / RESULT, CellResult)


def has_begun(folder: Path) -> bool:
    """Return whether a cell is finished, or has a checkpoint to go on from."""
    return (folder / RESULT).exists() or RunFolder(folder / RUN).last.exists()


def run_cell(
    config: TrainConfig, cell: Cell, folder: Path, process: Process, listener: Listener, signals: StopSignals
) -> CellResult:
    """Train a cell's run in its folder, or go on with it; evaluate its last weights; write and return the result.

    StoppedError where signals end the cell early; then the same call goes on. Raises as `paa.training.train.train`, and
    ConfigError where `auto`, or a precision that is `auto`, decides otherwise here than in cells that are finished.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = RunFolder(folder / RUN)
    if not has_begun(folder):
        (folder / _POSITIVES).unlink(missing_ok=True)  # of an attempt that had learned nothing, maybe of another rule
    counter = PositiveCounter(folder / _POSITIVES)
    checked = False

    def listen(record: Record) -> object:
        nonlocal checked
        if not checked:
            check_same_recipe(run, folder)
            checked = True
        counter.listen(record)
        return listener(record)

    trained = train_or_go_on(config, folder / RUN, process, listen, signals, counter.add)
    with signals.may_interrupt(), worker_errors():
        detector = load_trained(folder, process)
        train_index, test_index = read_splits(config, detector.names)
        loading = LoadingConfig(workers=config.runtime.workers, skip_bad=config.data.skip_bad)
        variants, tested = evaluate_variants(detector, test_index, process, loading)
    check_same_recipe(run, folder)  # again, as another process may have finished a cell meanwhile
    recipe = json.loads(run.recipe.read_bytes())
    result = CellResult(
        cell.data,
        cell.rule,
        cell.epochs,
        cell.seed,
        (len(train_index), tested),
        trained.step,
        round(_seconds(run.records(), recipe["schedule"]["reference_batch"]), 1),
        variants,
        joined(read_positives(folder / _POSITIVES)),
        recipe,
        {key: value for key, value in environment().items() if key not in ("command", "git_changed_files")},
    )
    write_text(folder / RESULT, json.dumps(asdict(result), indent=1) + "\n")
    return result


def check_same_recipe(run: RunFolder, folder: Path) -> None:
    """Raise ConfigError unless a cell's run has the recipe of the finished cells of its data set and budget.

    All but the rule is the same in a study's file, but `auto` decides by the device and the weights at hand. folder: of
    the cell.
    """
    own = _but_for_the_rule(json.loads(run.recipe.read_bytes()))
    for path in sorted(folder.parent.parent.glob(f"*/*/{RESULT}")):
        other = read_result(path.parent)
        assert other is not None
        theirs = _but_for_the_rule(other.recipe)
        # earlier versions' recipes had fewer fields
        both = [name for name in own if name in theirs]
        if differing := [f"{name} {theirs[name]}, not {own[name]}" for name in both if own[name] != theirs[name]]:
            raise ConfigError(
                f"{run.recipe}: {path.parent} was trained with {'; '.join(differing)}: set in the study's file what "
                "`auto` decides by the device and the weights at hand"
            )


def _but_for_the_rule(recipe: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in flat(recipe).items() if name != "assigner"}
    for name in ("init", "teacher"):  # whole paths, whose folder may be another where a study was moved
        fields[name] = Path(fields[name]).name if fields.get(name) else None
    return fields


def load_trained(folder: Path, process: Process) -> Detector:
    """Return the detector of a cell's last checkpoint, on the device, in evaluation mode."""
    path = RunFolder(folder / RUN).last
    detector = build(read_weights(path, "paa"), str(path), Detector).to(process.device)
    prepare_for_device(detector, channels_last=True, fast_convolutions=True)
    return detector.requires_grad_(False)


def read_splits(config: TrainConfig, names: tuple[str, ...] | None = None) -> tuple[DatasetIndex, DatasetIndex]:
    """Return the images to train on, and those to test on; names: the classes, in the order of the labels.

    MissingSplitError where the data set has no such split: never is a share of the images to train on taken instead;
    ConfigError for one annotation file, whose images would be both.
    """
    data = config.data
    if is_one_file(data):
        raise ConfigError(f"{data.path} is one annotation file: name the images to test on too (val_data)")
    if data.max_pixels is not None:
        limit_pixels(data.max_pixels)
    options: dict[str, Any] = {
        "format": data.format,
        "skip_bad": data.skip_bad,
        "allow_outside": data.allow_outside,
    }
    index = read_dataset(
        data.path, data.train_split, names=names, images=data.images, keep_empty=data.keep_empty, **options
    )
    images = data.val_images or (data.images if data.val_data is None else None)
    return index, read_dataset(data.val_data or data.path, data.val_split, names=index.names, images=images, **options)


def joined(lines: list[dict[str, Any]], most: int = _POINTS) -> list[dict[str, Any]]:
    """Return the same counts in at most so many lines: the sums of neighbouring ones, with the last one's step."""
    size = -(-len(lines) // most)
    groups = [lines[i : i + size] for i in range(0, len(lines), max(size, 1))]
    return [
        {
            "step": group[-1]["step"],
            **{name: [sum(each) for each in zip(*(line[name] for line in group))] for name in ("objects", "without")},
            "positives": [[sum(each) for each in zip(*rows)] for rows in zip(*(line["positives"] for line in group))],
        }
        for group in groups
    ]


def _seconds(records: list[Record], batch_size: int) -> float:
    """Return how long the steps of a run took, by the speeds in its log."""
    training = [record for record in records if record.get("images_per_second")]
    steps = [record["step"] for record in training]
    passed = [now - before for now, before in zip(steps, [0, *steps])]
    return float(sum(n * batch_size / record["images_per_second"] for n, record in zip(passed, training)))
