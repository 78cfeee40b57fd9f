from __future__ import annotations

import inspect

from paa import errors
from paa.errors import PaaError, format_bytes, one_line


def test_one_line() -> None:
    assert one_line(ValueError("first\n  second\tthird")) == "first second third"
    assert one_line(ValueError("")) == "ValueError"
    assert one_line(FileNotFoundError(2, "No such file", "a.txt")) == "No such file: 'a.txt'"
    assert one_line(ValueError("a" * 160)) == "a" * 160
    assert one_line(ValueError("a" * 161)) == "a" * 157 + "..."


def test_format_bytes() -> None:
    assert [format_bytes(n) for n in (0, 1023, 1024, 2**26, 3 * 2**40, 2**60)] == [
        "0 bytes", "1023 bytes", "1.0 kB", "64.0 MB", "3.0 TB", "1048576.0 TB"
    ]  # fmt: skip


def test_one_class_catches_all_errors_of_the_input() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert len(kinds) > 5
    assert all(issubclass(kind, PaaError) for kind in kinds)
