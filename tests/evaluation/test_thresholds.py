from __future__ import annotations

from pathlib import Path

import pytest

from paa.errors import DataError
from paa.evaluation.thresholds import read_thresholds


def test_reads_the_points(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    points = '{"a b": {"point": {"threshold": 0.25, "recall": 1}, "share": 1}, "c": {"point": null}}'
    path.write_text(f'{{"AP": 0.5, "operating_points": {points}}}')
    assert read_thresholds(path) == {"a b": 0.25}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"operating_points": {"a": 1}}', "\xff", '{"operating_points": []}'])
def test_another_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"a.json: not the metrics.json that paa eval --output writes: \S"):
        read_thresholds(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.json: no such file"):
        read_thresholds(tmp_path / "none.json")
    with pytest.raises(DataError, match=r"not the metrics\.json"):
        read_thresholds(tmp_path)
