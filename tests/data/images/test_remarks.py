from __future__ import annotations

import logging

import pytest

from paa.data.images.remarks import collected_remarks, remark, warn_once


def test_a_remark_is_logged_once_or_collected(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "paa")
    warn_once.cache_clear()
    for _ in range(3):
        remark("a.jpg: one")
    with collected_remarks() as remarks:
        remark("a.jpg: one")
        with collected_remarks() as inner:
            remark("b.jpg: two")
        remark("a.jpg: one")
    remark("c.jpg: three")
    assert remarks == ["a.jpg: one"] * 2
    assert inner == ["b.jpg: two"]
    assert caplog.messages == ["a.jpg: one", "c.jpg: three"]
