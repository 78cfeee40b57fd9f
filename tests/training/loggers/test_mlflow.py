"""MLflow, with a database of its own: a run there has the recipe, every number at its step, and the files."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import paa.training.loggers.mlflow as adapter
from paa.errors import ConfigError, RunError
from paa.training.loggers.interface import LoggedRun, scalars_of
from paa.training.loggers.mlflow import open_mlflow
from paa.training.loggers.run_ids import known_id
from paa.training.train import train
from tests.training.runs import CPU, KilledError, Micro, kill_at, read_log

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return the client of a database that is made once, as that takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in adapter._ENVIRONMENT.items():  # which the adapter sets for good
            patch.setenv(name, value)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "blood cells")
        patch.chdir(folder)  # where MLflow puts files of a database
        client = mlflow.tracking.MlflowClient()
        client.create_experiment("blood cells", artifact_location=str(folder / "artifacts"))
        yield client


def points(store: Any, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in store.get_metric_history(run_id, name)]


def expected(log: Path, name: str) -> list[tuple[int, float]]:
    return [(r["step"], scalars_of(r)[name]) for r in read_log(log) if name in scalars_of(r)]


def test_a_run_that_is_killed_and_resumed_is_one_run(tmp_path: Path, micro: Micro, store: Any) -> None:
    def config(**changes: Any) -> Any:
        return micro(
            tmp_path / "cells",
            validation={"batch_size": 2, "interval": 2},
            runtime={"loggers": ("mlflow",), "checkpoint_interval": 2},
            **changes,
        )

    with pytest.raises(KilledError):
        train(config(), CPU, kill_at(3))
    run_id = known_id(tmp_path / "cells", "mlflow")
    assert run_id is not None
    assert store.get_run(run_id).info.status == "FAILED"

    result = train(config(resume="last"), CPU)
    run = store.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "cells")
    assert store.get_experiment(run.info.experiment_id).name == "blood cells"
    assert len(store.search_runs([run.info.experiment_id])) == 1
    assert run.data.params["schedule.lr"] == "0.002"
    assert run.data.params["model.backbone"] == "resnet18"
    assert run.data.params["data"] == "shapes"
    for name in ("loss", "loss/box", "lr", "AP"):
        got = points(store, run_id, name)
        assert got == [(step, pytest.approx(value)) for step, value in expected(result.log, name)], name
    assert [step for step, _ in points(store, run_id, "loss")] == [1, 2, 3, 4]
    assert [step for step, _ in points(store, run_id, "AP")] == [2, 4]
    named = {"README.md", "recipe.json", "config.json", "log.jsonl", "metrics_last.json"}
    assert {file.path for file in store.list_artifacts(run_id)} >= named
    (checkpoint,) = [f for f in store.list_artifacts(run_id) if f.path.endswith(".pt")]
    assert checkpoint.file_size == (result.folder / checkpoint.path).stat().st_size > 0

    train(micro(tmp_path / "other", runtime={"loggers": ("mlflow",)}), CPU)
    assert known_id(tmp_path / "other", "mlflow") not in (None, run_id)


def test_a_resumed_run_with_another_value(tmp_path: Path, store: Any) -> None:
    """MLflow refuses other values of parameters; the tag says what changed."""
    open_mlflow(LoggedRun(tmp_path, {"schedule.steps": 4, "seed": 0})).close(None)
    open_mlflow(LoggedRun(tmp_path, {"schedule.steps": 6, "seed": 0})).close(KeyboardInterrupt())
    run = store.get_run(known_id(tmp_path, "mlflow"))
    assert run.data.params == {"schedule.steps": "4", "seed": "0"}
    assert run.data.tags["resumed.schedule.steps"] == "6"
    assert "resumed.seed" not in run.data.tags
    assert run.info.status == "KILLED"


def test_a_store_that_cannot_be_reached_leaves_nothing_behind(
    tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RunError, match=r"mlflow: http://127\.0\.0\.1:9 \(MLFLOW_TRACKING_URI\): .*--loggers"):
        train(micro(tmp_path / "run", runtime={"loggers": ("tensorboard", "mlflow")}), CPU)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_server_that_goes_away_does_not_stop_training(
    tmp_path: Path, micro: Micro, store: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log_batch = mlflow.tracking.MlflowClient.log_batch

    def away(client: Any, run_id: str, metrics: Any = (), **others: Any) -> Any:
        if metrics and metrics[0].step > 2:
            raise ConnectionError("the server is away")
        return log_batch(client, run_id, metrics=metrics, **others)

    monkeypatch.setattr(mlflow.tracking.MlflowClient, "log_batch", away)
    result = train(micro(tmp_path / "run", runtime={"loggers": ("mlflow",)}), CPU)
    assert result.step == 4
    assert len(read_log(result.log)) == 4
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert [line for line in warnings if line.startswith("mlflow:")] == [
        "mlflow: the server is away; training goes on, and log.jsonl has every number",
        "mlflow: 2 records of log.jsonl are missing there",
    ]
    run_id = known_id(result.folder, "mlflow")
    assert run_id is not None
    assert [step for step, _ in points(store, run_id, "loss")] == [1, 2]


def test_telemetry_is_off(tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    open_mlflow(LoggedRun(tmp_path, {})).close(None)
    assert mlflow.environment_variables.MLFLOW_DISABLE_TELEMETRY.get() is True


def test_without_the_package(tmp_path: Path, micro: Micro, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
        missing = rf"--loggers {name}: {name} is not installed: pip install 'paa\[{name}\]'"
        with pytest.raises(ConfigError, match=missing):
            train(micro(tmp_path / "run", runtime={"loggers": (name,)}), CPU)
        assert not (tmp_path / "run").exists()
