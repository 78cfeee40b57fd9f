from __future__ import annotations

import logging
import os
import signal
import threading
import time

import pytest

from paa.runtime import elastic
from paa.runtime.elastic import NOTICED_AFTER, lock_patience, wait_for_restart
from paa.runtime.stop_signals import StopSignals


def test_nothing_is_waited_for_where_no_machine_comes_or_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NOTICED_AFTER, raising=False)
    started = time.monotonic()
    assert not wait_for_restart(StopSignals(), "lost one")
    assert time.monotonic() < started + 1
    assert lock_patience() == 0


def test_a_process_waits_for_torchrun(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv(NOTICED_AFTER, "60")
    assert lock_patience() > 90
    with StopSignals().handled() as signals, caplog.at_level(logging.WARNING, "paa"):
        timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        timer.start()
        assert wait_for_restart(signals, "lost one")
        timer.join()
        assert wait_for_restart(signals, "lost one")  # and not where the signal has come already
    assert caplog.messages == ["lost one; torchrun is to start it again, with the machines that are left"]


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NOTICED_AFTER, "0.1")
    monkeypatch.setattr(elastic, "_RESERVE", 0.1)
    assert not wait_for_restart(StopSignals(), "lost one")
