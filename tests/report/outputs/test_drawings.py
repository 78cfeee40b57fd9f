from __future__ import annotations

from pathlib import Path

from PIL import Image

from paa.report.outputs.drawings import save_drawing


def test_a_drawing_longer_than_a_jpeg_can_be(tmp_path: Path) -> None:
    save_drawing(Image.new("RGB", (70_000, 2)), tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as drawn:
        assert drawn.size[0] <= 65_500
