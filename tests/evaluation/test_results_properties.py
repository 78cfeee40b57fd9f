"""Any detections that another tool writes are read as they are."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport
from paa.evaluation.results_file import read_results
from tests.properties import bounded, text

numbers = st.floats(-(2.0**90), 2.0**90, width=32)


@bounded
@given(
    st.lists(text, min_size=2, max_size=2, unique=True),
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 1), *[numbers] * 2, *[st.floats(0, 1e3)] * 2, numbers), max_size=4
    ),
    st.booleans(),
)
def test_results_are_read_as_they_were_written(
    classes: list[str], rows: list[tuple[int, int, float, float, float, float, float]], by_name: bool
) -> None:
    index = DatasetIndex(
        root=Path(),
        file_names=np.array([b"a.png", b"b.png"], np.bytes_),
        image_ids=np.array([7, -(2**60)]),
        sizes=np.full((2, 2), 9, np.int32),
        offsets=np.zeros(3, np.int64),
        boxes=np.zeros((0, 4), np.float32),
        labels=np.zeros(0, np.int64),
        crowd=np.zeros(0, np.bool_),
        areas=np.zeros(0, np.float32),
        names=tuple(classes),
        category_ids=np.array([3, 1]),
    )
    results = [
        {
            "image_id": ["a.png", "b"][image] if by_name else int(index.image_ids[image]),
            "category_id": classes[label] if by_name else int(index.category_ids[label]),
            "bbox": [x, y, width, height],
            "score": score,
        }
        for image, label, x, y, width, height, score in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        path.write_text(json.dumps(results))
        table = read_results(path, index, ReadReport())
    assert table.image.tolist() == [row[0] for row in rows]
    assert table.labels.tolist() == [row[1] for row in rows]
    assert table.scores.tolist() == [row[6] for row in rows]
    corners = np.array([[x, y, x + width, y + height] for _, _, x, y, width, height, _ in rows], np.float32)
    np.testing.assert_array_equal(table.boxes, corners.reshape(-1, 4))
