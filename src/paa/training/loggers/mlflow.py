"""MLflow: a run in its tracking store, which the tool's own environment variables name.

`MLFLOW_TRACKING_URI` is a server or a database, by default `sqlite:///mlflow.db` in the working folder.
`MLFLOW_EXPERIMENT_NAME` (or `MLFLOW_EXPERIMENT_ID`) is the experiment, by default "paa".
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paa.errors import RunError, one_line
from paa.training.loggers.interface import LoggedRun
from paa.training.loggers.run_ids import keep_id, known_id

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

log = logging.getLogger("paa")

NAME = "mlflow"
_EXPERIMENT = "paa"
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # its own defaults wait for a server that is away, and let training wait, for many minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""What MLflow is told unless the environment says something else."""
_AT_ONCE = 100
"""Most parameters in a call; MLflow takes no more."""


class MlflowRun:
    """Writes to one run of MLflow, the same one again where a run is resumed."""

    def __init__(self, client: MlflowClient, run: LoggedRun) -> None:
        self._client = client
        known = os.environ.get("MLFLOW_RUN_ID") or known_id(run.folder, NAME)
        self._id = known or client.create_run(_experiment(client), run_name=run.folder.name).info.run_id
        self._last_steps = self._steps_there() if known else {}
        keep_id(run.folder, NAME, self._id)
        client.update_run(self._id, status="RUNNING")
        self._write_parameters(run.parameters)
        log.info(f"mlflow: run {self._id} in {client.tracking_uri}")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a step, but for points that the run wrote before it was stopped."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        new = {name: value for name, value in values.items() if step > self._last_steps.get(name, -1)}
        self._client.log_batch(self._id, metrics=[Metric(name, float(v), now, step) for name, v in new.items()])

    def picture(self, step: int, name: str, path: Path) -> None:
        """Copy a picture to the run's artifacts; its file's name has the step."""
        self._client.log_artifact(self._id, str(path), name)

    def files(self, paths: Sequence[Path]) -> None:
        """Copy files to the run's artifacts."""
        for path in paths:
            self._client.log_artifact(self._id, str(path))

    def close(self, error: BaseException | None) -> None:
        """Mark the run as finished, killed or failed."""
        stopped = isinstance(error, KeyboardInterrupt)
        self._client.set_terminated(self._id, "FINISHED" if error is None else "KILLED" if stopped else "FAILED")

    def _steps_there(self) -> dict[str, int]:
        """Return the last step of each number that the run has already."""
        names = self._client.get_run(self._id).data.metrics
        return {n: max(point.step for point in self._client.get_metric_history(self._id, n)) for n in names}

    def _write_parameters(self, parameters: Mapping[str, object]) -> None:
        """Write parameters; where a resumed run has another value, which MLflow refuses, a tag has the new one."""
        from mlflow.entities import Param, RunTag

        there = self._client.get_run(self._id).data.params
        given = {name: str(value) for name, value in parameters.items()}
        new = [Param(name, value) for name, value in given.items() if name not in there]
        changed = [RunTag(f"resumed.{name}", v) for name, v in given.items() if there.get(name, v) != v]
        for first in range(0, len(new), _AT_ONCE):
            self._client.log_batch(self._id, params=new[first : first + _AT_ONCE])
        self._client.log_batch(self._id, tags=changed)


def open_mlflow(run: LoggedRun) -> MlflowRun:
    """Open a run in MLflow's store; RunError where that cannot be reached or refuses it."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        return MlflowRun(MlflowClient(), run)
    except (MlflowException, OSError) as error:
        where = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
        raise RunError(
            f"mlflow: {where} (MLFLOW_TRACKING_URI): {one_line(error)}; train without it: --loggers tensorboard"
        ) from error


def _experiment(client: MlflowClient) -> str:
    """Return the id of the experiment that the environment names, made if it does not exist."""
    if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return given
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
    known = client.get_experiment_by_name(name)
    created: str = client.create_experiment(name) if known is None else known.experiment_id
    return created
