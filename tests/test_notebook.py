"""The notebook of the documentation runs from its first cell to its last, and the outputs in it are those of a run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="running a notebook needs nbclient (pip install 'paa[docs]')")

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from run_notebook import NOTEBOOK, in_the_end, run

SHORTER = (
    ("images=250", "images=16"),
    ("steps=200", "steps=8"),
    ('"interval": 50', '"interval": 8'),
    ("000041", "000001"),
    (".above(0.5)", "[:5]"),
)


def test_it_runs(tmp_path: Path) -> None:
    text = NOTEBOOK.read_text(encoding="utf-8").replace('\\"', '"')
    assert all(old in text for old, _ in SHORTER)
    notebook = run(NOTEBOOK, tmp_path, replace=SHORTER)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    assert "largest difference" in code[-1].outputs[-1].text
    assert (tmp_path / "evaluation" / "report.html").exists()
    assert (tmp_path / "shapes.onnx").exists()


def test_its_outputs_are_kept_and_small() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    shown = [output for cell in cells for output in cell["outputs"]]
    assert len(shown) >= len(cells) - 2
    assert not [output for output in shown if output["output_type"] == "error"]
    assert NOTEBOOK.stat().st_size < 500_000
    texts = "".join("".join(output.get("text", "")) for output in shown)
    assert "AP50" in texts
    assert not re.findall(r"(?<!\w)/(?:home|root|tmp|usr|opt)/", texts)


def test_what_a_terminal_shows_in_the_end() -> None:
    assert in_the_end("\x1b[2K 10 %\r\x1b[1mdone\x1b[0m\r\nbar ━━━ 1 %\nnext  \n") == "done\nnext"
