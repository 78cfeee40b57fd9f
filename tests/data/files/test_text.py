from __future__ import annotations

from pathlib import Path

import pytest

from paa.data.files.text import decode_text, read_head, read_text
from paa.errors import DataError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings_and_line_endings(encoding: str) -> None:
    assert decode_text("a é\r\nb\rc\n".encode(encoding)) == "a é\nb\nc\n"


@pytest.mark.parametrize("content", [b"a\xff", b"ab\0c", "é".encode("latin-1")])
def test_what_is_no_text(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        decode_text(content)
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.txt: cannot be read as text: "):
        read_text(file)


def test_the_beginning_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"ab" * 5000)
    assert read_head(tmp_path / "a.txt") == b"ab" * 2048
    assert read_head(tmp_path / "gone.txt") == read_head(tmp_path) == b""
