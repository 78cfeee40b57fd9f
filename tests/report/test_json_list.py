from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paa.errors import RunError
from paa.report.json_list import JsonListFile

ITEMS: list[Any] = [{"name": "猫", "boxes": [[1.5, 2], []], "text": "a\nb"}, {}, [], None, "]", {"a": {"b": [1]}}]


def test_is_what_json_writes_after_every_item(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("something older and longer than an empty list")
    with JsonListFile(path) as file:
        assert path.read_text() == "[]\n"
        for count, item in enumerate(ITEMS, 1):
            file.append(item)
            assert path.read_text() == json.dumps(ITEMS[:count], indent=1) + "\n"


@pytest.mark.parametrize("written", [0, 2])
def test_what_does_not_fit_is_taken_back(tmp_path: Path, written: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    with JsonListFile(path) as file:
        for item in ITEMS[:written]:
            file.append(item)
        real = file._file

        class Full:
            """A disk with room for 20 bytes more."""

            def __init__(self) -> None:
                self.left = 20

            def write(self, data: bytes) -> int:
                if not self.left:
                    raise OSError(28, "No space left on device")
                count = real.write(data[: self.left])
                self.left -= count
                return count

            def seek(self, place: int) -> int:
                return real.seek(place)

            def truncate(self, size: int) -> int:
                self.left = 20
                return real.truncate(size)

            def close(self) -> None:
                real.close()

        monkeypatch.setattr(file, "_file", Full())
        with pytest.raises(
            RunError, match=r"a\.json: cannot be written: No space left on device, with .* free on its disk"
        ):
            file.append({"a": "long" * 100})
        assert json.loads(path.read_text()) == ITEMS[:written]
        file.append(7)
        assert json.loads(path.read_text()) == [*ITEMS[:written], 7]
