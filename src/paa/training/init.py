"""Where a run's weights come from: fresh, a file that `--init` names, or the checkpoint that is resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from paa.config import ModelConfig
from paa.training.run_config import check_same
from paa.training.settings import TrainConfig
from paa.weights.read import read_start, read_weights
from paa.weights.start import starting_model
from paa.weights.state import BackboneWeights, Weights


def resolve_init(
    config: TrainConfig, resume_path: Path | None
) -> tuple[TrainConfig, Weights | BackboneWeights | None, list[str]]:
    """Return the configuration with the model that `init` decides, the weights to start from, a line for each change.

    resume_path: the checkpoint of a run that is resumed, which has that model and those weights already.
    """
    if config.init is None:
        return config, None, []
    asked, named = config.recipe.model, config.named_in("model")
    if resume_path is not None:
        model = read_weights(resume_path, "paa").config
        check_same({f"model.{n}": (getattr(model, n), getattr(asked, n)) for n in named}, str(resume_path))
        return _with_model(config, model), None, []
    weights = read_init(config, config.init)
    model, changed = starting_model(weights, asked, named)
    messages = [f"model.{name}: {new}, as {weights.source} has it (not {old})" for name, (old, new) in changed.items()]
    return _with_model(config, model), weights, messages


def read_init(config: TrainConfig, init: str) -> Weights | BackboneWeights:
    """Return the weights that `init` names, for a detector or a backbone. Raises CheckpointError for what has none."""
    # a recipe's backbone says nothing of a file that a person names
    meant = "model.backbone" in config.named or "init" not in config.named
    return read_start(init, config.recipe.model.backbone if meant else "", config.init_format)


def _with_model(config: TrainConfig, model: ModelConfig) -> TrainConfig:
    return replace(config, recipe=replace(config.recipe, model=model))
