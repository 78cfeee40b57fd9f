from __future__ import annotations

import errno
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from paa.config import AugmentConfig, LoadingConfig, WorkerConfig
from paa.data import datasets, workers
from paa.data import loader as loader_module
from paa.data.augment import TrainTransform
from paa.data.batch import Batch
from paa.data.index import DatasetIndex
from paa.data.loader import eval_loader, train_loader
from paa.data.sampling import Sampling
from paa.data.transforms import Resize
from paa.data.workers import (
    check_shared_memory,
    receive,
    share,
    shared_bytes,
    start_workers,
    worker_error,
    worker_errors,
)
from paa.errors import RunError
from paa.runtime.distributed import Process
from tests.data.data_files import make_index
from tests.mounts import run_with_small_disk

OWN_SIZE = Resize(None, 800)
IN_PROCESS = "load in the main process instead: --workers 0"

ONE_WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.data.data_files import make_index
from paa.config import LoadingConfig
from paa.data import loader
from paa.data.loader import eval_loader
from paa.data.transforms import Resize
from paa.errors import RunError

loader.check_shared_memory = lambda needed: None  # as if there had been room at the start
for size in (60, 80), (600, 800):
    index = make_index(Path(sys.argv[2]), [size] * 8)
    try:
        print(len(list(eval_loader(index, Resize(None, 800), loading=LoadingConfig(1, batch_size=2)))))
    except RunError as error:
        print(error)
"""


def all_at_own_size(index: DatasetIndex, **options: int) -> list[Batch]:
    return list(eval_loader(index, OWN_SIZE, loading=LoadingConfig(**options, batch_size=2)))


def test_a_worker_without_enough_shared_memory(tmp_path: Path) -> None:
    script = tmp_path / "load.py"
    script.write_text(ONE_WORKER)
    paths = [str(Path(__file__).parents[2]), str(tmp_path)]
    done = run_with_small_disk(Path("/dev/shm"), "2m", [sys.executable, str(script), *paths])
    assert done.returncode == 0, done.stderr
    small, large = done.stdout.splitlines()
    assert small == "4"
    assert large.startswith("/dev/shm, through which loader workers hand over batches, is too small: 2.0 MB, ")
    assert IN_PROCESS in large


def statvfs(free: int, size: int) -> Callable[[object], Any]:
    values = (4096, 4096, size // 4096, free // 4096, free // 4096, 0, 0, 0, 0, 255)
    return lambda path: os.statvfs_result(values)


def test_shared_memory_is_checked_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make_index(tmp_path, [(64, 96)] * 12 + [(96, 64)] * 12)
    loader = eval_loader(index, OWN_SIZE, loading=LoadingConfig(1, batch_size=2))
    assert 3 * (2 * 3 * 64 * 96) < loader.shared_bytes < 3 * (2 * 3 * 64 * 96 + 2**16)
    plain, half = TrainTransform(AugmentConfig((64,), 96)), Process(torch.device("cpu"), 0, 2)
    trains = [train_loader(index, plain, Sampling(4, steps), half, WorkerConfig(workers=2)) for steps in (1, 6, 90)]
    assert trains[0].shared_bytes * 6 == trains[1].shared_bytes == trains[2].shared_bytes
    assert trains[0].shared_bytes >= 2 * 3 * 64 * 96
    monkeypatch.setattr(os, "statvfs", statvfs(2**16, 2**26))
    for full in (loader, trains[1]):
        with pytest.raises(RunError, match=r"is too small: 64.0 MB, 64.0 kB of it free, .* needed; .*--workers 0"):
            next(iter(full))
    assert len(all_at_own_size(index, workers=0)) == 12


def test_shared_memory_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    check_shared_memory(2**20)
    monkeypatch.setattr(os, "statvfs", statvfs(0, 0))  # a tmpfs without a limit
    check_shared_memory(2**40)
    monkeypatch.undo()
    monkeypatch.setattr(workers, "SHARED_MEMORY", Path("/no/such/folder"))
    check_shared_memory(2**60)


def test_batches_arrive_unchanged_in_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make_index(tmp_path, [(64, 96)] * 4)
    for batch, plain in zip(all_at_own_size(index, workers=1), all_at_own_size(index, workers=0)):
        assert all(tensor.is_shared() for tensor in vars(batch).values())
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert not any(tensor.is_shared() for tensor in vars(plain).values())
        assert torch.equal(batch.images, plain.images)
        assert 2 * 3 * 64 * 96 <= shared_bytes(batch) < 2 * 3 * 64 * 96 + 2**16
        monkeypatch.setattr(torch.Tensor, "share_memory_", fail)
        with pytest.raises(RunError, match=r"cannot share a batch \(unable to mmap.*--workers 0"):
            share(plain)
        monkeypatch.undo()


def fail(tensor: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("unable to mmap 24 bytes from file </torch_1>: Cannot allocate memory (12)")


@pytest.fixture
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch look for workers that ended ten times a second, not every five seconds."""
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.1,))


def kill_itself(image: Path, times: list[int] | None = None) -> Callable[..., Any]:
    """Return a function that reads images, and at one of them ends the process; times: how often, by its length."""
    real = datasets.read_image

    def read_image(path: Path, size: tuple[int, int]) -> Any:
        if path == image and (times is None or len(list(image.parent.glob("killed-*"))) < len(times)):
            (image.parent / f"killed-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(path, size)

    return read_image


@pytest.mark.usefixtures("_looks_often")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    """Twice at the same image; every batch comes once, in its place, and unchanged."""
    index = make_index(tmp_path, [(64, 96)] * 12)
    expected = all_at_own_size(index, workers=0)
    monkeypatch.setattr(datasets, "read_image", kill_itself(index.path(6), [1, 2]))
    found = all_at_own_size(index, workers=workers)
    assert [batch.positions.tolist() for batch in found] == [batch.positions.tolist() for batch in expected]
    for batch, plain in zip(found, expected):
        assert all(torch.equal(tensor, vars(plain)[name]) for name, tensor in vars(batch).items())
    assert len(list(tmp_path.rglob("killed-*"))) == 2
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 2
    for line in warned:
        assert re.fullmatch(
            rf"loader worker \d+ was ended by a signal \(Killed\) at {index.path(6)}: the machine or its container may "
            rf"be out of memory; .*{IN_PROCESS}; the workers are started again",
            line,
        )


@pytest.mark.usefixtures("_looks_often")
def test_a_worker_that_is_killed_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make_index(tmp_path, [(64, 96)] * 8)
    first = index.path(1)  # in the first batch: one that comes between two ends would begin the count anew
    monkeypatch.setattr(datasets, "read_image", kill_itself(first))
    with pytest.raises(RunError, match=rf"ended by a signal \(Killed\) at {first}: .*{IN_PROCESS}$") as caught:
        all_at_own_size(index, workers=1)
    assert len(list(tmp_path.rglob("killed-*"))) == 1 + loader_module._RESTARTS
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("_looks_often")
def test_a_worker_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_module, "_RESTARTS", 0)
    monkeypatch.setattr(datasets, "read_image", lambda *_: os._exit(3))
    says = r"^loader worker \d+ ended unexpectedly \(exit code 3\) at .*/0\.\w+; load in the main .*--workers 0$"
    with pytest.raises(RunError, match=says):
        all_at_own_size(make_index(tmp_path, [(64, 96)] * 4), workers=1)


def test_the_end_of_a_worker_interrupts_nothing(tmp_path: Path) -> None:
    """Only where a batch is awaited is an error raised: a step may be under way when a worker ends."""
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(eval_loader(make_index(tmp_path, [(64, 96)] * 8), OWN_SIZE, loading=LoadingConfig(1, batch_size=1)))
    next(batches)
    assert signal.getsignal(signal.SIGCHLD) == before
    (worker,) = multiprocessing.active_children()
    worker.kill()
    worker.join()


@pytest.mark.usefixtures("_looks_often")
def test_a_worker_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "read_image", lambda *_: time.sleep(600))
    index = make_index(tmp_path, [(64, 96)] * 4)
    says = r"^no loader worker handed over a batch for 1 s \(--worker-timeout\), while reading "
    with pytest.raises(RunError, match=rf"{says}{index.path(0)}: .*--workers 0$"):
        all_at_own_size(index, workers=1, worker_timeout=1)


@pytest.mark.parametrize("announced", [False, True])
@pytest.mark.usefixtures("_looks_often")
def test_a_worker_that_is_stopped(tmp_path: Path, announced: bool) -> None:
    """SIGTERM does not end a stopped worker, and a batch that the worker announced cannot be fetched."""
    loader = eval_loader(make_index(tmp_path, [(64, 96)] * 8), OWN_SIZE, loading=LoadingConfig(1, 600, batch_size=1))
    plans = loader.plans
    assert isinstance(plans, list)
    items: Any = start_workers(DataLoader(loader.dataset, sampler=plans, batch_size=None, num_workers=1))
    next(items)
    (worker,) = items._workers
    if announced:
        assert wait([items._worker_result_queue._reader])  # until the worker has announced its next batch
    rescue = Timer(60, worker.kill)  # where nothing else ends it, the test fails by the error's text
    rescue.start()
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(RunError, match=r"^no loader worker handed over a batch for 0.1 s \(--worker-timeout\): "):
        take_all(items, timeout=0.1)
    rescue.cancel()
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL


def take_all(items: Iterator[object], timeout: float) -> None:
    with worker_errors():
        for _ in receive(items, timeout, lambda worker: None):
            pass


def test_a_worker_without_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make_index(tmp_path, [(64, 96)] * 4)
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 99 bytes")):
        monkeypatch.setattr(datasets, "read_image", raising(error))
        for count in (0, 1):
            with pytest.raises(RunError, match=r"^no memory to load a batch \(.*fewer --workers$"):
                all_at_own_size(index, workers=count)
    monkeypatch.setattr(datasets, "read_image", raising(RuntimeError("a fault of the program")))
    with pytest.raises(RuntimeError, match="a fault of the program"):
        all_at_own_size(index, workers=0)


def raising(error: Exception) -> Callable[..., Any]:
    def raise_it(*_: object, **__: object) -> None:
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            r"cannot be started or reached .*No space left.*--workers 0",
        ),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "cannot be started or reached"),
        (OSError(errno.EMFILE, "Too many open files"), r"too many open files .*ulimit -n.*--workers 0"),
    ],
)
def test_workers_that_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, says: str
) -> None:
    index = make_index(tmp_path, [(64, 96)] * 4)
    monkeypatch.setattr(os, "fork", raising(error))
    with pytest.raises(RunError, match=says):
        all_at_own_size(index, workers=1)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("DataLoader worker (pid 12) is killed by signal: Killed. ", r"worker 12 was ended by a signal \(Killed\)"),
        (
            "DataLoader worker (pid 12) is killed by signal: Bus error. It is possible",
            r"12 was ended by a bus.*/dev/shm",
        ),
        ("DataLoader worker (pid(s) 12, 13) exited unexpectedly", "loader worker 12, 13 ended unexpectedly"),
        ("DataLoader timed out after 300 seconds", r"for 300 s \(--worker-timeout\)"),
        ("Pin memory thread exited unexpectedly", "ended unexpectedly"),
    ],
)
def test_failures_that_torch_reports(said: str, says: str) -> None:
    """Also failures that torch's signal handler raises in the middle of a training step."""
    with pytest.raises(RunError, match=rf"{says}.*--workers 0$"), worker_errors():
        raise RuntimeError(said)


def test_other_errors_are_unchanged() -> None:
    fault = RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent ...")
    for error in (RuntimeError("CUDA error"), OSError(2, "No such file"), EOFError(), fault):
        assert worker_error(error) is None
        with pytest.raises(type(error)), worker_errors():
            raise error
    with pytest.raises(RuntimeError, match="ancdata"), worker_errors():
        raise RuntimeError("received 0 items of ancdata")
    with pytest.raises(RunError, match="ulimit"), worker_errors(communicates=True):
        raise RuntimeError("received 0 items of ancdata")
    for fault in (RuntimeError("a fault of the program"), OSError("Caught OSError in DataLoader worker process 0.")):
        with pytest.raises(type(fault)), worker_errors(communicates=True):
            raise fault
