"""Two worker processes, of which one is killed, and a killed program: every image is in the results exactly once."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from paa.batch_inference.detector import BatchDetector
from paa.batch_inference.output_folder import OutputFolder
from paa.batch_inference.run import detect_in_shards
from paa.errors import CheckpointError, RunError
from tests.batch_inference.results import Expected, check_once
from tests.batch_inference.workers import KilledDetector, run_and_die
from tests.processes import CONTEXT


def killed(checkpoint: Path, notes: Path, at: str, *, always: bool = False, together: int = 1) -> KilledDetector:
    notes.mkdir()
    return KilledDetector(checkpoint, device="cpu", notes=notes, at=at, always=always, together=together)


def test_a_worker_is_killed(
    checkpoint: Path,
    images: list[str],
    bad: list[str],
    expected: Expected,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    out, counts = tmp_path / "out", list[int]()
    detector = killed(checkpoint, tmp_path / "notes", "07.jpg")
    done = detect_in_shards(detector, images, OutputFolder(str(out)), workers=2, shard_size=2, listen=counts.append)
    assert (tmp_path / "notes" / "killed").exists()
    assert caplog.text.count("a worker process died at shard 3 (") == 1
    check_once(out, images, expected)
    assert sum(counts) == done.images == len(images)
    assert (done.before, done.errors) == (0, 1)
    assert done.first_errors == [f"{bad[0]}: a text, not an image"]


def test_a_shard_that_kills_each_worker_is_named(checkpoint: Path, images: list[str], tmp_path: Path) -> None:
    """The shards beside it are finished all the same, and are not done again."""
    detector = killed(checkpoint, tmp_path / "notes", "07.jpg", always=True)
    with pytest.raises(RunError, match=r"^shard 3 \(.*06\.jpg to .*07\.jpg\): 3 workers died there; "):
        detect_in_shards(detector, images, OutputFolder(str(tmp_path / "out")), workers=2, shard_size=2)
    finished = {path.name for path in (tmp_path / "out" / "detections").iterdir()}
    assert "0000003.parquet" not in finished
    assert len(finished) >= 3


def test_a_killed_program_continues_with_the_rest_alone(
    checkpoint: Path, images: list[str], expected: Expected, tmp_path: Path
) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"
    detector = killed(checkpoint, notes, "none", together=2)
    program = CONTEXT.Process(target=run_and_die, args=(detector, images, str(out), 2))
    program.start()
    program.join()
    assert program.exitcode == -signal.SIGKILL
    workers = [int(path.name.removeprefix("process-")) for path in notes.iterdir()]
    assert len(workers) == 2
    wait_for_the_end(workers)  # they do not work on for nobody
    before = {path.name: path.stat().st_mtime_ns for path in (out / "detections").iterdir()}
    assert 1 <= len(before) < 6

    done = detect_in_shards(detector, images, OutputFolder(str(out)), workers=1, shard_size=2)
    assert done.before == 2 * len(before)
    assert done.images == len(images) - done.before
    after = {path.name: path.stat().st_mtime_ns for path in (out / "detections").iterdir()}
    assert before.items() < after.items()  # not written again
    check_once(out, images, expected)
    assert detect_in_shards(detector, images, OutputFolder(str(out)), workers=1, shard_size=2).images == 0


def wait_for_the_end(processes: list[int]) -> None:
    deadline = time.monotonic() + 60
    while any(is_running(process) for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_error_in_a_worker_is_raised_here(checkpoint: Path, images: list[str], tmp_path: Path) -> None:
    lost = tmp_path / "model.pt"
    lost.write_bytes(checkpoint.read_bytes())
    detector = BatchDetector(lost, device="cpu")

    def lose(count: int) -> None:
        lost.unlink(missing_ok=True)

    with pytest.raises(CheckpointError, match=r"model\.pt: no such file"):
        detect_in_shards(detector, images, OutputFolder(str(tmp_path / "out")), workers=2, listen=lose)
    assert list((tmp_path / "out" / "detections").iterdir()) == []
