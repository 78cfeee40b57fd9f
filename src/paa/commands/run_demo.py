"""`paa demo`: a data set of drawn shapes, a small detector trained on it, and what it detects; minutes on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from paa.config import AugmentConfig, DataConfig, LoadingConfig, RuntimeConfig, ValidationConfig
from paa.data.read import read_dataset
from paa.data.shapes import make_shapes
from paa.errors import ConfigError, RunError
from paa.evaluation.analysis import analyse
from paa.evaluation.dataset import evaluate_dataset
from paa.evaluation.metrics import CocoMetrics
from paa.predictor import load
from paa.recipes import RECIPES
from paa.report.curves import training_curves
from paa.report.evaluation import write_evaluation
from paa.report.evaluation_report import EvaluationReport
from paa.runtime.distributed import Process
from paa.training.settings import TrainConfig
from paa.training.train import train

IMAGES = 2000
STEPS = 1000


def run_demo(
    folder: Path,
    process: Process,
    listen: Callable[[dict[str, Any]], object],
    *,
    images: int = IMAGES,
    steps: int = STEPS,
) -> tuple[CocoMetrics, float]:
    """Make the data set (folder/shapes), train (folder/run), evaluate (folder/evaluation).

    images: of the data set, a fifth of them for validation; steps: of training. Returns the numbers on the validation
    set and the seconds that training and evaluation took. RunError if the folder is not empty, ConfigError in more than
    one process.
    """
    if process.world > 1:
        raise ConfigError("paa demo runs in one process: start it without torchrun")
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder}: exists and is not empty; remove it or give another --output")
    data = make_shapes(folder / "shapes", images)
    started = time.perf_counter()
    nano = RECIPES["r18_nano"]
    recipe = replace(
        nano,
        model=replace(nano.model, min_size=160, max_size=192),
        augment=AugmentConfig(min_sizes=(160,), max_size=192),
        schedule=replace(nano.schedule, steps=steps),
    )
    config = TrainConfig(
        data=DataConfig(data),
        output=folder / "run",
        recipe=recipe,
        batch_size=8,
        validation=ValidationConfig(batch_size=0),
        runtime=RuntimeConfig(precision="auto", workers=1),
    )
    result = train(config, process, listen)
    training_curves(result.log, folder / "training.png")
    index = read_dataset(data, "val")
    model = load(result.last, str(process.device))
    evaluated = evaluate_dataset(model, index, process, model.inference, LoadingConfig(workers=1))
    assert evaluated is not None  # in one process
    seconds = time.perf_counter() - started
    write_evaluation(
        folder / "evaluation", EvaluationReport(str(result.last), str(data), evaluated, analyse(evaluated))
    )
    return evaluated.metrics, seconds
