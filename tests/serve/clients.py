"""A client inside this process, and a network that works only when it is let go."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from paa.serve.api import make_app
from paa.serve.limits import Limits
from paa.serve.service import Service

LOCAL = "http://127.0.0.1"


@contextmanager
def client_of(service: Service, **options: Any) -> Iterator[TestClient]:
    """Yield a client of the application of a service, as `make_app` makes it with these options."""
    with TestClient(make_app(service, **options), LOCAL, raise_server_exceptions=False) as client:
        yield client


@contextmanager
def client_with(model: Any, *, options: dict[str, Any] | None = None, **limits: Any) -> Iterator[TestClient]:
    """Yield a client of a service of its own with these limits."""
    service = Service(model, "model.pt", Limits(**limits))
    try:
        with client_of(service, **(options or {})) as client:
            yield client
    finally:
        service.close()


def upload(client: TestClient, paths: Sequence[Path], **query: Any) -> Any:
    """Return the answer to a request with these files."""
    files = [("images", (path.name, path.read_bytes())) for path in paths]
    return client.post("/predict", files=files, params=query)


class Gate:
    """Holds up the network before each batch until `open` is set. busy: a batch is held up."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        from paa.serve import service

        self.open, self.busy = threading.Event(), threading.Event()
        real = service.detect_prepared

        def held(*arguments: Any) -> Any:
            self.busy.set()
            assert self.open.wait(30)
            return real(*arguments)

        patch.setattr(service, "detect_prepared", held)
