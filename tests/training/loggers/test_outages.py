"""A logger whose server goes away costs training nothing but a line, and loses nothing when it comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from paa.training.loggers.outages import OutageTolerant


class Server:
    """A logger that can be away."""

    def __init__(self) -> None:
        self.away = False
        self.attempts = 0
        self.got: list[tuple[int, dict[str, float]]] = []
        self.got_files: list[Path] = []
        self.closed: list[BaseException | None] = []

    def _answer(self) -> None:
        self.attempts += 1
        if self.away:
            raise ConnectionError("no\nroute")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._answer()
        self.got.append((step, dict(values)))

    def files(self, paths: Sequence[Path]) -> None:
        self._answer()
        self.got_files += paths

    def close(self, error: BaseException | None) -> None:
        self._answer()
        self.closed.append(error)


def test_an_outage_is_one_line_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    now, server = [0.0], Server()
    logger = OutageTolerant("mlflow", server, lambda: now[0])
    logger.scalars(1, {"loss": 4.0})
    server.away = True
    for step in (2, 3, 4):
        logger.scalars(step, {"loss": 4.0 - step})
    assert server.attempts == 2  # no new attempt within a minute
    now[0] = 61.0
    logger.scalars(5, {"loss": 0.5})
    assert server.attempts == 3
    assert [record.getMessage() for record in caplog.records] == [
        "mlflow: no route; training goes on, and log.jsonl has every number"
    ]
    server.away, now[0] = False, 130.0
    logger.scalars(6, {"loss": 0.25})
    assert [step for step, _ in server.got] == [1, 2, 3, 4, 5, 6]
    assert server.got[2] == (3, {"loss": 1.0})
    logger.files([Path("a")])
    logger.close(None)
    assert (server.got_files, server.closed, len(caplog.records)) == ([Path("a")], [None], 1)


def test_a_server_that_stays_away(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    server.away = True
    logger = OutageTolerant("wandb", server)
    for step in range(3):
        logger.scalars(step, {"loss": 1.0})
    logger.files([Path("a")])
    logger.close(ValueError())
    assert [record.getMessage() for record in caplog.records] == [
        "wandb: no route; training goes on, and log.jsonl has every number",
        "wandb: 3 records of log.jsonl are missing there",
    ]


def test_an_interruption_is_no_outage() -> None:
    server = Server()

    def interrupted(step: int, values: Mapping[str, float]) -> None:
        raise KeyboardInterrupt

    server.scalars = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        OutageTolerant("mlflow", server).scalars(1, {})
