"""data.yaml has each class's name as it is, for any reader of YAML."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from paa.data.formats.yolo.write import write_splits
from tests.data.data_files import make_index


@pytest.mark.parametrize("names", [("a\x85b", "Füße"), ("Füße", "a\u2028b", "yes", "1", "'", '"#: ', " ")])
def test_names_of_any_characters(names: tuple[str, ...], tmp_path: Path) -> None:
    index = make_index(tmp_path / "images", [(8, 9)], boxes_each=1)
    write_splits(tmp_path, {"train": replace(index, names=names, category_ids=np.arange(len(names)))})
    text = (tmp_path / "data.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["names"] == dict(enumerate(names))
    assert ("Füße" in text) == ("a\x85b" not in names)
