"""Whatever is in a file or a request, a reader returns or raises one of the project's errors in one line, and soon.

A short form of `make fuzz`: the same readers, mutators and rules, without the guidance of coverage.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))  # as for a script in that folder

import fuzz_readers  # noqa: E402
from fuzz_readers import READERS, Trial, WrongError  # noqa: E402

COUNTS = {
    "coco": 300,
    "voc": 200,
    "yolo": 150,
    "yaml": 200,
    "image": 500,
    "checkpoint": 500,
    "description": 1500,
    "onnx": 400,
    "cache": 300,
    "results": 600,
    "request": 300,
}
"""Inputs for each reader, half a second of computing each."""

PACKAGES = {"onnx": ("onnx", "onnxruntime"), "request": ("fastapi",)}


@pytest.fixture
def trial(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trial]:
    for package in PACKAGES.get(request.param, ()):
        pytest.importorskip(package)
    trial = Trial(READERS[request.param], tmp_path)
    yield trial
    trial.close()


def test_every_reader_is_tried() -> None:
    assert COUNTS.keys() == READERS.keys()


@pytest.mark.parametrize(("name", "trial"), [(name, name) for name in READERS], indirect=["trial"], ids=list(READERS))
@pytest.mark.filterwarnings("ignore")  # of Pillow, about the images
def test_changed_files_are_read_or_refused(name: str, trial: Trial) -> None:
    reader, rng = READERS[name], random.Random(name)
    inputs = list(reader.seeds())
    for data in (b"", b"\0", b"{}", b"[]", b"<a/>", bytes(100)):
        trial(data)
    changed = 0
    for _ in range(COUNTS[name]):
        data = reader.mutate(rng.choice(inputs), rng)[: reader.longest]
        changed += data not in inputs
        trial(data)
        if rng.random() < 0.2:
            inputs.append(data)
    assert changed > COUNTS[name] / 2


@pytest.mark.parametrize("trial", ["results"], indirect=True)
def test_the_rules_are_held(trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opens(data: bytes) -> None:
        (tmp_path / "secret.png").read_bytes()

    def lingers(data: bytes) -> None:
        while fuzz_readers.time.process_time() < until:
            pass

    def rambles(data: bytes) -> None:
        raise fuzz_readers.PaaError("two\nlines")

    monkeypatch.setattr(fuzz_readers, "SLOW", 0.01)
    until = fuzz_readers.time.process_time() + 0.05
    for wrong, words in ((opens, "a file outside was opened"), (lingers, "took 0.0"), (rambles, "not one line")):
        monkeypatch.setattr(trial, "_read", wrong)
        with pytest.raises(WrongError, match=words):
            trial(b"")
