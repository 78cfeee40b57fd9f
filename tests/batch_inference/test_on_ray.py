"""Ray Data with two workers, of which one is killed, in one Ray that all tests of this file share."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from paa.batch_inference import on_ray as on_ray_module
from paa.batch_inference.detector import BatchDetector
from paa.batch_inference.on_ray import on_ray
from paa.batch_inference.output_folder import OutputFolder
from paa.batch_inference.run import detect_in_shards
from paa.batch_inference.shards import Shard
from paa.batch_inference.task import ShardTask
from paa.errors import CheckpointError, ConfigError, RunError
from tests.batch_inference.results import Expected, check_once
from tests.batch_inference.workers import KilledDetector

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Yield the module ray, started with two CPUs; its processes find the tests' own classes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # other tests run beside these
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
        ray = pytest.importorskip("ray", reason="ray is an extra")
        ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=2**27, log_to_driver=False)
        yield ray
        ray.shutdown()


def test_a_worker_is_killed(ray: Any, checkpoint: Path, images: list[str], expected: Expected, tmp_path: Path) -> None:
    """In a run that continues another one, whose finished shards are left as they are."""
    out, notes = tmp_path / "out", tmp_path / "notes"
    notes.mkdir()
    detector = KilledDetector(checkpoint, device="cpu", notes=notes, at="07.jpg")
    with pytest.raises(InterruptedError):
        detect_in_shards(detector, images, OutputFolder(str(out)), workers=1, shard_size=2, listen=stop_after_one())
    before = {path.name: path.stat().st_mtime_ns for path in (out / "detections").iterdir()}
    assert list(before) == ["0000000.parquet"]

    done = detect_in_shards(detector, images, OutputFolder(str(out)), "ray", workers=2, shard_size=2)
    assert (notes / "killed").exists()
    assert len(list(notes.glob("process-*"))) >= 3
    assert (done.before, done.images, done.errors) == (2, 10, 1)
    assert before.items() < {path.name: path.stat().st_mtime_ns for path in (out / "detections").iterdir()}.items()
    check_once(out, images, expected)


def stop_after_one() -> Callable[[int], None]:
    def listen(count: int) -> None:
        if count:
            raise InterruptedError

    return listen


def test_an_error_in_a_worker_is_handed_over(images: list[str], tmp_path: Path) -> None:
    """Not raised, as Ray would wrap it in errors of its own."""
    task = ShardTask(BatchDetector(tmp_path / "none.pt", device="cpu"), OutputFolder(str(tmp_path / "out")), "")
    row = {"task": pickle.dumps(task), "number": 0, "images": [os.fsencode(image) for image in images]}
    (answer,) = on_ray_module._Worker()(pa.Table.from_pylist([row])).to_pylist()
    assert answer["done"] is None
    error = pickle.loads(answer["failed"])
    assert isinstance(error, CheckpointError)
    assert str(error) == f"{tmp_path}/none.pt: no such file"


def test_a_shard_at_which_three_workers_died(images: list[str], tmp_path: Path) -> None:
    output = OutputFolder(str(tmp_path))
    for _ in range(3):
        on_ray_module._count_tries(Shard(5, images), output)
    on_ray_module._count_tries(Shard(4, images), output)
    with pytest.raises(RunError, match=r"^shard 5 \(.*00\.jpg to .*11\.jpg\): 3 workers died there"):
        on_ray_module._count_tries(Shard(5, images), output)


def test_ray_chooses_the_gpu(tmp_path: Path) -> None:
    task = ShardTask(BatchDetector("model.pt", device="cuda:1"), OutputFolder(str(tmp_path)), "")
    with pytest.raises(ConfigError, match="Ray chooses which GPU"):
        next(on_ray(task, [Shard(0, ["a.jpg"])], 1))


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    task = ShardTask(BatchDetector("model.pt"), OutputFolder(str(tmp_path)), "")
    with pytest.raises(ConfigError, match=r"^--engine ray: ray is not installed: pip install 'paa\[ray\]'$"):
        next(on_ray(task, [Shard(0, ["a.jpg"])], 1))
