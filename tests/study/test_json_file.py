"""Files of a study's folder that somebody changed, or that another version wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from paa.errors import RunError
from paa.study.cells import Cell
from paa.study.json_file import read_json
from paa.study.results import comparison_path, read_comparison, read_results
from paa.study.run_cell import RESULT, read_result


@pytest.mark.parametrize("text", ["", "{}", '{"data": 3}', "[", "\x00"])
def test_a_damaged_file_is_one_line_that_names_it(tmp_path: Path, text: str) -> None:
    comparison = comparison_path(tmp_path, "set", 12)
    comparison.parent.mkdir(parents=True)
    for path in (tmp_path / RESULT, tmp_path / "results.json", comparison):
        path.write_text(text)
    for name, read in (
        (RESULT, lambda: read_result(tmp_path)),
        ("results.json", lambda: read_results(tmp_path / "results.json")),
        (comparison.name, lambda: read_comparison(tmp_path, "set", 12)),
    ):
        with pytest.raises(RunError, match=rf"{name}: not what a study wrote: .*; remove it to have it made again$"):
            read()


def test_what_is_not_there_is_not_finished(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none.json", dict[str, int]) is None
    assert read_result(tmp_path / Cell("set", "paa", 12, 0).folder) is None
    with pytest.raises(RunError, match="no such file"):
        read_results(tmp_path / "results.json")
