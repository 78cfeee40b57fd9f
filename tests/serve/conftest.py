from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paa.predictor import PAA, load
from tests.export.conftest import exported

if TYPE_CHECKING:
    from paa.serve.service import Service

__all__ = ["exported"]  # the fixture


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> PAA:
    return load(checkpoint, "cpu")


@pytest.fixture
def service(model: PAA) -> Iterator[Service]:
    from paa.serve.limits import Limits
    from paa.serve.service import Service

    service = Service(model, "model.pt", Limits())
    yield service
    service.close()


@pytest.fixture(scope="session")
def photos(shapes: Path) -> list[Path]:
    """Image files of two shapes."""
    return sorted((shapes / "images").iterdir())
