from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paa.data.images.read import read_image
from paa.serve.images import decode_upload


def test_files_are_read_as_from_the_disk(photos: list[Path]) -> None:
    for path in photos[:2]:
        np.testing.assert_array_equal(decode_upload(path.read_bytes(), path.name), read_image(path))


def test_a_file_without_its_end_is_repaired_in_silence(photos: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    data = photos[0].read_bytes()
    assert decode_upload(data[:-20], "cut.jpg").shape == read_image(photos[0]).shape
    assert caplog.messages == []
