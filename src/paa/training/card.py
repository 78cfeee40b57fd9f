"""The model card of a run: README.md, as the Hugging Face hub has it, with what the model is and how well it does.

It names no path of the machine that trained, so that it can be published as it is.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

import paa
from paa.assigners.rule_text import without_folder
from paa.config import CardConfig, DataConfig, Recipe, RuntimeConfig, ValidationConfig, to_dict
from paa.data.index import DatasetIndex
from paa.training.records import Record
from paa.training.settings import TrainConfig
from paa.weights.read import is_name

_TAGS = ("object-detection", "paa", "probabilistic-anchor-assignment", "pytorch")
_METRIC = "mean_average_precision"
_COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")


@dataclass(frozen=True)
class CardFacts:
    """What a card says of a run beside its numbers.

    name: of the model. data: name of the data set. train, val: the images to train and to validate on, None without
    validation; val_source: where the latter are from. batch_size: images of a step. options: of the run, beside its
    recipe, that decide what comes out, as on a command line.
    """

    name: str
    data: str
    train: DatasetIndex
    val: DatasetIndex | None
    val_source: str
    recipe: Recipe
    batch_size: int
    given: CardConfig
    options: str = ""

    @property
    def init(self) -> str | None:
        """The weights that training started from: their name, without the folder of a file."""
        return _without_folder(self.recipe.init)

    @property
    def teacher(self) -> str | None:
        """The detector whose predictions decided the assignment, likewise."""
        return _without_folder(self.recipe.teacher)


def options_of(config: TrainConfig) -> str:
    """Return the options of a run that decide what comes out and are no part of its recipe, as on a command line."""
    data = config.data
    given = (
        ("--train-split", data.train_split, DataConfig.train_split),
        ("--val-split", data.val_split, DataConfig.val_split),
        ("--val-fraction", data.val_fraction, None if "data.val_fraction" in config.named else DataConfig.val_fraction),
        ("--val-num", config.validation.limit, None),
        ("--val-interval", config.validation.interval, ValidationConfig.interval),
        ("--patience", config.validation.patience, None),
        ("--seed", config.runtime.seed, RuntimeConfig.seed),
    )
    words = [f"{option} {shlex.quote(str(value))}" for option, value, default in given if value != default]
    words += [] if data.val_data is None else ["--val-data VAL_DATA"]
    words += [] if data.keep_empty else ["--no-keep-empty"]
    words += [] if config.validation.voting else ["--no-voting"]
    words += [] if config.validation.batch_size else ["--val-batch-size 0"]
    return "".join(f" {word}" for word in words)


def _without_folder(given: str | None) -> str | None:
    return given if given is None or is_name(given) else Path(given).name


def model_card(facts: CardFacts, step: int, records: Sequence[Record], metrics: Mapping[str, Any]) -> str:
    """Return a model card in Markdown, with the hub's metadata in YAML before it.

    step: of last.pt. records: of the run's log so far. metrics: of the validation of the best checkpoint, in the form
    of metrics.json; empty without one.
    """
    validations = [record for record in records if "AP" in record]
    best = _best(validations)
    parts = [
        f"---\n{yaml.safe_dump(_metadata(facts, best), sort_keys=False, allow_unicode=True)}---",
        f"# {facts.name}",
        _introduction(facts, step),
        f"## Use\n\n{_use(best is not None, facts.recipe)}",
        f"## Results\n\n{_results(facts, step, validations, best)}",
        *([f"## Classes\n\n{_classes(metrics)}"] if metrics else []),
        f"## Training\n\n{_training(facts, step)}",
        f"## Limits\n\n{_limits(facts)}",
    ]
    return "\n\n".join(parts) + "\n"


def _best(validations: Sequence[Record]) -> Record | None:
    """Return the validation of best.pt: that of highest AP, the last one as long as no AP is above 0."""
    highest = max(validations, key=lambda record: record["AP"] or 0.0, default=None)
    return highest if highest is None or highest["AP"] else validations[-1]


def _metadata(facts: CardFacts, best: Record | None) -> dict[str, Any]:
    """Return the hub's metadata; names that would be looked up on the hub are only those that a person gave."""
    given, init = facts.given, facts.init or ""
    backbone = facts.recipe.model.backbone.removeprefix("timm/")
    values: dict[str, Any] = {
        "library_name": "paa",
        "pipeline_tag": "object-detection",
        "license": given.license,
        "datasets": list(given.datasets) or None,
        # only the full names of timm's weights are those of repositories
        "base_model": init if init.startswith("timm/") and "." in init else None,
        "tags": [*_TAGS, backbone],
        "metrics": [_METRIC],
    }
    if best is not None and best["AP"] is not None:
        dataset = given.datasets[0] if given.datasets else facts.data
        measured = {name: best[name] for name in ("AP", "AP50", "AP75") if best.get(name) is not None}
        result = {
            "task": {"type": "object-detection", "name": "Object detection"},
            "dataset": {"name": facts.data, "type": dataset},
            "metrics": [
                {"type": _METRIC, "name": f"{name}, COCO's", "value": round(100 * value, 2)}
                for name, value in measured.items()
            ],
        }
        values["model-index"] = [{"name": facts.name, "results": [result]}]
    return {name: value for name, value in values.items() if value is not None}


def _introduction(facts: CardFacts, step: int) -> str:
    model, names = facts.recipe.model, facts.train.names
    classes = f"{len(names)} class{'es' if len(names) > 1 else ''}: {', '.join(map(_plain, names[:20]))}"
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    state = "" if step else " It is not trained yet."
    return (
        "An object detector, trained with [Probabilistic Anchor Assignment](https://arxiv.org/abs/2007.08103) (PAA, "
        f"ECCV 2020). It finds {classes}{more}. Its backbone is {model.backbone}; images are resized so that the short "
        f"side is {model.min_size} pixels and the long one at most {model.max_size}.{_about_tiles(facts.recipe)}{state}"
    )


def _about_tiles(recipe: Recipe) -> str:
    """Return a sentence about the tiles that a run was trained on, and has to detect on; empty without any."""
    if recipe.augment.tiles is None:
        return ""
    return f" It was trained, and measured, on tiles of {recipe.augment.tiles.size} pixels of the images."


def _use(validated: bool, recipe: Recipe) -> str:
    checkpoint = "best.pt" if validated else "last.pt"
    size = None if recipe.augment.tiles is None else recipe.augment.tiles.size
    tiled, tiles = ("", "") if size is None else (f" --tiles {size}", f", tiles={size}")
    command = f"paa predict {checkpoint} photos{tiled}"
    thresholds = f"{command} --thresholds metrics_best.json   # each class at its best score"
    lines = ["```text", f"{command} --threshold 0.4", *([thresholds] if validated else []), "```"]
    return "\n".join(
        [
            "```python",
            "import paa",
            "",
            f'model = paa.load("{checkpoint}")  # from the hub: paa.PAA.from_pretrained("someone/repository")',
            f'for box, score, name in model.predict("photo.jpg"{tiles}).above(0.4):',
            "    print(name, round(score, 2), box)  # x1, y1, x2, y2 in pixels",
            "```",
            "",
            *lines,
        ]
    )


def _results(facts: CardFacts, step: int, validations: Sequence[Record], best: Record | None) -> str:
    if facts.val is None:
        return "Not evaluated: the run had no validation."
    objects = int((~facts.val.crowd).sum())
    about = f"COCO's numbers, in percent, on {len(facts.val)} images with {objects} objects: {facts.val_source}."
    if best is None:
        return f"{about} Not evaluated yet."
    last = validations[-1]
    at_last = "last.pt" if last["step"] == step else f"a step before last.pt, which is of step {step}"
    rows = [("best.pt", best), (at_last, last)]
    table = _table(
        ("weights", "step", *_COLUMNS),
        [(name, str(record["step"]), *(_percent(record.get(each)) for each in _COLUMNS)) for name, record in rows],
    )
    return (
        f"{about}\n\n{table}\n\n`best.pt` was chosen by these images, so its numbers are a little too high for others."
    )


def _classes(metrics: Mapping[str, Any]) -> str:
    points = {name: entry.get("point") or {} for name, entry in metrics.get("operating_points", {}).items()}
    rows = []
    for name, numbers in metrics.get("classes", {}).items():
        point = points.get(name, {})
        score = f"{point['threshold']:.3f}" if point else "-"
        shares = (numbers.get("AP"), numbers.get("AP50"), point.get("precision"), point.get("recall"))
        ap, ap50, precision, recall = map(_percent, shares)
        rows.append((_plain(name), str(numbers.get("objects", "-")), ap, ap50, score, precision, recall))
    table = _table(("class", "objects", "AP", "AP50", "score", "precision", "recall"), rows)
    return (
        "Score: the threshold of highest precision x recall on the same images, at IoU 0.5, with both in percent.\n\n"
        + table
    )


def _training(facts: CardFacts, step: int) -> str:
    train, schedule = facts.train, facts.recipe.schedule
    start = "random weights" if facts.init is None else f"`{facts.init}`"
    published = replace(
        facts.recipe, init=facts.init, teacher=facts.teacher, assigner=without_folder(facts.recipe.assigner)
    )
    recipe = json.dumps(to_dict(published), indent=2)
    taught = (
        ""
        if facts.teacher is None
        else f"- Teacher: the predictions of `{facts.teacher}` decided which anchors are positive ([LAD]"
        "(https://arxiv.org/abs/2108.10520)).\n"
    )
    license = facts.given.license or "none is given for the weights; the data set's own may bind them too"
    return (
        f"- Data: {_plain(facts.data)}, {len(train)} images with {int((~train.crowd).sum())} objects.\n"
        f"- Start: {start}.\n"
        f"{taught}"
        f"- {step} of {schedule.steps} steps of {facts.batch_size} images, {schedule.optimizer}, learning rate "
        f"{schedule.lr:.3g}.\n"
        f"- Licence: {license}.\n"
        f"- Software: paa {paa.__version__}; `recipe.json` starts the same run again: `paa train --recipe recipe.json "
        f"--data DATA{facts.options}`."
        f"\n\n<details><summary>The recipe</summary>\n\n```json\n{recipe}\n```\n\n</details>"
    )


def _limits(facts: CardFacts) -> str:
    model = facts.recipe.model
    return (
        "- It knows the classes above alone, and images like those it was trained on; how it does on others is not "
        "measured.\n"
        "- A score ranks detections: it is no probability of being right. Choose a threshold on images of your own.\n"
        f"- Objects much smaller than its smallest anchor, {model.anchor_scale * model.strides[0]:.0f} pixels in the "
        "resized image, are hard to find.\n"
        "- It was not tested for uses in which a missed or a wrong detection harms people."
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _plain(text: str) -> str:
    """Return a name as Markdown shows it: on one line, and no part of a table, a link or a tag."""
    escaped = "".join(f"\\{letter}" if letter in "\\|[]<>*_`" else letter for letter in text)
    return " ".join(escaped.split())
