from __future__ import annotations

from paa.errors import format_bytes


def test_format_bytes() -> None:
    assert [format_bytes(n) for n in (0, 1023, 1024, 2**26, 3 * 2**40, 2**60)] == [
        "0 bytes", "1023 bytes", "1.0 kB", "64.0 MB", "3.0 TB", "1048576.0 TB"
    ]  # fmt: skip
