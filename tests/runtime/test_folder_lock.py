from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from paa.errors import RunError
from paa.runtime import folder_lock as module
from paa.runtime.folder_lock import folder_lock

HOLD = r"""
import os, sys, time
from pathlib import Path
from paa.runtime.folder_lock import folder_lock

with folder_lock(Path(sys.argv[1])):
    if os.fork() == 0:  # as a loader worker, it lives on when its parent is killed
        os.setsid()
        os.write(1, b"child %d\n" % os.getpid())
        os.close(1)
        time.sleep(600)
        os._exit(0)
    os.write(1, b"held\n")
    sys.stdin.readline()
print("released", flush=True)
"""


class Holder:
    """Another process that holds the lock of a folder, and its child."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", HOLD, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = [self.process.stdout.readline().split() for _ in range(2)]
        assert ["held"] in said
        self.child = next(int(words[1]) for words in said if words[0] == "child")

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()
        os.kill(self.child, signal.SIGKILL)


def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


def holder(**changes: Any) -> str:
    content = {"pid": 2**22 + 1, "host": socket.gethostname(), "since": "2026-01-01T00:00:00+00:00", "started": None}
    return json.dumps({**content, **changes})


@pytest.mark.parametrize("flock", [True, False])
def test_another_process_holds_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, flock: bool
) -> None:
    with Holder(tmp_path) as other:
        if not flock:
            no_flock(monkeypatch)
        says = (
            rf"^{tmp_path}: process {other.process.pid} on {re.escape(socket.gethostname())} \(since \S+\) is writing"
        )
        with pytest.raises(RunError, match=says), folder_lock(tmp_path):
            pass
        assert (tmp_path / "lock").exists()
        other.process.kill()
        os.waitid(os.P_PID, other.process.pid, os.WEXITED | os.WNOWAIT)  # its parent has not noticed its end
        with caplog.at_level(logging.INFO, "paa"), folder_lock(tmp_path):
            assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
        assert [record.getMessage() for record in caplog.records] == [
            f"{tmp_path / 'lock'}: left by process {other.process.pid} on {socket.gethostname()} "
            f"(since {re.search(r'since (.*?)[)]', caplog.text)[1]}), which no longer runs: lock taken over"  # type: ignore[index]
        ]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_released(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Holder(tmp_path) as other:
        assert other.process.stdin is not None
        assert other.process.stdout is not None
        other.process.stdin.write("\n")
        other.process.stdin.flush()
        assert other.process.stdout.readline() == "released\n"
        assert list(tmp_path.iterdir()) == []
        with caplog.at_level(logging.INFO, "paa"), folder_lock(tmp_path):
            pass
    with pytest.raises(KeyError), folder_lock(tmp_path):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    assert caplog.records == []


@pytest.mark.parametrize("flock", [True, False])
def test_the_same_process_holds_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flock: bool) -> None:
    if not flock:
        no_flock(monkeypatch)
    with folder_lock(tmp_path):
        with pytest.raises(RunError, match=f"process {os.getpid()} on .* is writing this run"), folder_lock(tmp_path):
            pass
        assert (tmp_path / "lock").exists()


def test_a_lock_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where its holder may be about to end."""
    with Holder(tmp_path) as other, caplog.at_level(logging.INFO, "paa"):
        with pytest.raises(RunError, match="is writing this run"), folder_lock(tmp_path, patience=0.3):
            pass
        timer = threading.Timer(0.3, other.process.kill)
        timer.start()
        with folder_lock(tmp_path, patience=60):
            assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
        timer.join()
    said = [message for message in caplog.messages if "trying again" in message]
    assert [message.rpartition("; ")[2] for message in said] == ["trying again for 0 s", "trying again for 60 s"]


def test_a_lock_of_another_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where files can be locked, its process is known not to run; where they cannot, that is unknown."""
    (tmp_path / "lock").write_text(holder(host="elsewhere", pid=os.getpid()))
    with caplog.at_level(logging.INFO, "paa"), folder_lock(tmp_path):
        pass
    assert f"left by process {os.getpid()} on elsewhere (since 2026-01-01" in caplog.text
    no_flock(monkeypatch)
    for content in (holder(host="elsewhere"), "", '{"pid": 1', "[]"):
        (tmp_path / "lock").write_text(content)
        says = rf"may be writing this run.*if it is not, remove {tmp_path / 'lock'}, or"
        with pytest.raises(RunError, match=says), folder_lock(tmp_path):
            pass
        assert (tmp_path / "lock").read_text() == content


def test_a_later_process_of_the_same_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_flock(monkeypatch)
    (tmp_path / "lock").write_text(holder(pid=os.getpid(), started=module._started(os.getpid())))
    with pytest.raises(RunError, match="is writing"), folder_lock(tmp_path):
        pass
    (tmp_path / "lock").write_text(holder(pid=os.getpid(), started="1 another boot"))
    with folder_lock(tmp_path):
        pass


def test_a_lock_removed_while_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder ends between opening and locking: the locked file is then no longer the one in the folder."""
    flock, calls = fcntl.flock, iter(range(9))

    def late(file: int, how: int) -> None:
        if next(calls) == 0:
            (tmp_path / "lock").unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with folder_lock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
        assert next(calls) == 2
        with pytest.raises(RunError, match="is writing"), folder_lock(tmp_path):
            pass
