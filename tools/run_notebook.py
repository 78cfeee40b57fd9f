"""Run docs/notebook.ipynb anew and keep its outputs, which the site and code hosts show: `make notebook`.

The outputs, some 200 kB, are in the file so that a reader sees them without running anything.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


def run(path: Path, folder: Path, *, replace: tuple[tuple[str, str], ...] = ()) -> Any:
    """Return the notebook with its outputs, after running it in a folder; nbclient's error if a cell fails.

    replace: pairs of a text in the cells and another, to make it shorter.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        for old, new in replace:
            cell.source = cell.source.replace(old, new)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}, record_timing=False)
    client.execute()
    return notebook


def tidy(notebook: Any) -> None:
    """Leave of each cell's text what a terminal shows in the end, without colours and libraries' warnings."""
    for cell in notebook.cells:
        outputs, text = [], ""
        for output in cell.get("outputs", ()):
            if output.output_type != "stream":
                outputs.append(output)
            elif output.name == "stdout":
                text += output.text
        if shown := in_the_end(text):
            outputs.insert(0, nbformat.v4.new_output("stream", name="stdout", text=shown))
        if cell.cell_type == "code":
            cell.outputs = outputs


def in_the_end(text: str) -> str:
    """Return the lines of a terminal's output that the cursor has not overwritten.

    Progress bars are left out, and the remark that other programs ran beside, which says nothing to a reader.
    """
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r\n", "\n")
    lines = [line.rpartition("\r")[2].rstrip() for line in plain.split("\n")]
    return "\n".join(line for line in lines if not re.search("━|processors are contended", line)).strip("\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        notebook = run(NOTEBOOK, Path(temporary))
    tidy(notebook)
    nbformat.write(notebook, NOTEBOOK)
