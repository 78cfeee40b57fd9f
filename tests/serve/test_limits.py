from __future__ import annotations

import math
from typing import Any

import pytest

from paa.errors import ConfigError
from paa.serve.limits import Limits


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_batch": 0}, "--max-batch must be at least 1, got 0"),
        ({"batch_wait": -1}, "--batch-wait must be at least 0, got -1"),
        ({"batch_wait": math.inf}, "--batch-wait must be at most --timeout, 30 s, got inf ms"),
        ({"timeout": math.inf}, "--timeout must be above 0, got inf"),
        ({"max_body": math.inf}, "--max-body must be above 0, got inf"),
        ({"timeout": 0}, "--timeout must be above 0, got 0"),
        ({"max_body": math.nan}, "--max-body must be above 0, got nan"),
        ({"queue": 3, "max_images": 4}, "--queue must be at least --max-images, 4, got 3"),
    ],
)
def test_invalid_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Limits(**values)


def test_bytes() -> None:
    assert Limits(max_body=0.5).max_bytes == 2**19
