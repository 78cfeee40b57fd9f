"""Invalid values of a configuration are refused, and values without an effect are named."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paa.errors import ConfigError
from paa.training.schedule import make_schedule
from paa.training.settings import check_settings, check_shares, ineffective, sizes_apart
from tests.training.runs import Micro


@pytest.mark.parametrize(
    ("changes", "world", "says"),
    [
        ({"batch_size": 0}, 1, "batch_size must be at least 1, got 0"),
        ({"batch_size": 3}, 4, "batch_size must be at least 4, the processes, got 3"),
        ({"schedule": {"lr": math.nan}}, 1, "schedule.lr must be at least 0, got nan"),
        ({"schedule": {"lr": math.inf}}, 1, "schedule.lr must be at least 0, got inf"),
        ({"schedule": {"epochs": 0.0}}, 1, "schedule.epochs must be above 0 and below 10^6, got 0.0"),
        ({"schedule": {"ema": 0.0}}, 1, "schedule.ema must be between 0 and 1, got 0.0"),
        ({"schedule": {"ema": 1.0}}, 1, "schedule.ema must be between 0 and 1, got 1.0"),
        ({"schedule": {"ema": math.nan}}, 1, "schedule.ema must be between 0 and 1, got nan"),
        ({"schedule": {"backbone_lr_factor": -1.0}}, 1, "schedule.backbone_lr_factor must be at least 0, got -1.0"),
        ({"accumulate": 0}, 1, "accumulate must be at least 1, got 0"),
        ({"batch_size": 3, "accumulate": 2}, 2, "batch_size must be at least 4, the processes (2) x accumulate"),
        ({"data": {"val_fraction": 1.0}}, 1, "data.val_fraction must be between 0 and 1, got 1.0"),
        ({"named": ("data.val_fraction", "data.val_data")}, 1, "data.val_fraction and data.val_data contradict each"),
        ({"augment": {"repeat_threshold": 1.5}}, 1, "augment.repeat_threshold must be from 0 to 1, got 1.5"),
        ({"schedule": {"prior_probability": 1.0}}, 1, "schedule.prior_probability must be between 0 and 1, got 1.0"),
        ({"schedule": {"decays": (-5, 3)}}, 1, "schedule.decays must be at least 0, got -5"),
        ({"augment": {"mosaic": -0.1}}, 1, "augment.mosaic must be from 0 to 1, got -0.1"),
        ({"augment": {"scale_jitter": (2.0, 1.0)}}, 1, "augment.scale_jitter must be above 0, the lower first"),
        ({"model": {"norm": "batch", "norm_eps": 0.0}}, 1, "model.norm_eps must be above 0 in trained batch norm"),
    ],
)
def test_invalid_values(tmp_path: Path, micro: Micro, changes: dict[str, Any], world: int, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_settings(micro(tmp_path, **changes), world)
    assert says in str(caught.value)


def test_a_batch_size_that_auto_decides_is_checked_when_it_is_decided(tmp_path: Path, micro: Micro) -> None:
    check_settings(micro(tmp_path, auto=True, batch_size=8), 16)
    with pytest.raises(ConfigError, match="at least 16"):
        check_settings(micro(tmp_path, auto=True, batch_size=8, named=("batch_size",)), 16)
    with pytest.raises(ConfigError, match="at least 16"):
        check_shares(micro(tmp_path, auto=True, batch_size=8), 16)
    check_shares(micro(tmp_path, auto=True, batch_size=16), 16)


@pytest.mark.parametrize("text", ["centre-sampling(reach=(4.0, inf))", "centre-sampling"])
def test_a_teacher_of_a_rule_that_looks_at_no_predictions(tmp_path: Path, micro: Micro, text: str) -> None:
    """Whose numbers may be more than a text can say, if the rule is given as a value."""
    config = micro(tmp_path, named=("teacher",))
    config = replace(config, recipe=replace(config.recipe, assigner=text))
    schedule = make_schedule(config.recipe.schedule, config.batch_size, 8)
    assert ineffective(config, schedule) == [f"teacher has no effect: the rule {text} looks at no predictions"]


def test_values_without_an_effect(tmp_path: Path, micro: Micro) -> None:
    def idle(*named: str, **changes: Any) -> list[str]:
        config = micro(tmp_path, named=named, **changes)
        return ineffective(
            config, make_schedule(config.recipe.schedule, config.batch_size, 8, config.named_in("schedule"))
        )

    names = ("data.val_split", "validation.interval", "validation.voting")
    assert idle(*names, "model.norm_eps", "batch_size") == [
        f"{name} has no effect: there is no validation (validation.batch_size 0)" for name in names
    ]
    assert idle(*names, validation={"batch_size": 1}) == []
    assert idle("init_format") == ["init_format has no effect: there is no init"]
    assert idle("runtime.worker_timeout", runtime={"workers": 1}) == []
    assert idle("schedule.warmup", "schedule.warmup_steps", schedule={"warmup_steps": 0}) == [
        "schedule.warmup has no effect: there is no warm-up"
    ]
    late = idle("schedule.decays", schedule={"decays": (3, 4, 5)})
    assert late == ["schedule.decays has no effect: steps [4, 5] are not before the last one, 4"]
    fast = {"runtime": {"fast_convolutions": True, "precision": "bfloat16"}}
    assert idle("runtime.fast_convolutions", **fast) == [
        "runtime.fast_convolutions has no effect: fast convolutions are for float32 without torch.compile"
    ]


def test_an_image_size_of_detection_alone_is_remarked(tmp_path: Path, micro: Micro) -> None:
    said = ["trained on images of 64 pixels (augment.min_sizes), detects in images of 320 (model.min_size)"]
    for named, jitter, lines in (
        (("model.min_size",), None, said),
        (("model.min_size", "augment.min_sizes"), None, []),
        ((), None, []),
        (("model.min_size",), (0.5, 5.0), []),
    ):
        config = micro(tmp_path, named=named, model={"min_size": 320}, augment={"scale_jitter": jitter})
        assert sizes_apart(config) == lines
