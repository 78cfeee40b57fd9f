"""How much a server takes on at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from paa.errors import ConfigError

MAX_PIXELS = 64_000_000
"""Most pixels of an image that is sent, unless the person who starts the server names another number."""


@dataclass(frozen=True)
class Limits:
    """How much a server takes on at a time; what is beyond is refused with a status code and a reason."""

    max_batch: int = 8
    """Most images that the network looks at together; 1: one after another."""
    batch_wait: float = 2.0
    """Milliseconds that an image waits for others to share its batch, while the network has nothing else to do."""
    queue: int = 64
    """Most images that wait for the network, and most requests that are being read."""
    timeout: float = 30.0
    """Seconds that a request may take to be read, and then to be answered."""
    max_body: float = 32.0
    """Most megabytes (2^20 bytes) of a request, and of the images together that are fetched for one."""
    max_images: int = 16
    """Most images of a request."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid value."""
        for name, value, least in (
            ("max-batch", self.max_batch, 1),
            ("batch-wait", self.batch_wait, 0),
            ("queue", self.queue, 1),
            ("max-images", self.max_images, 1),
        ):
            if not value >= least:
                raise ConfigError(f"--{name} must be at least {least}, got {value}")
        for name, value in (("timeout", self.timeout), ("max-body", self.max_body)):
            if not 0 < value < math.inf:
                raise ConfigError(f"--{name} must be above 0, got {value}")
        if self.batch_wait > 1000 * self.timeout:
            raise ConfigError(f"--batch-wait must be at most --timeout, {self.timeout:g} s, got {self.batch_wait:g} ms")
        if self.max_images > self.queue:
            raise ConfigError(f"--queue must be at least --max-images, {self.max_images}, got {self.queue}")

    @property
    def max_bytes(self) -> int:
        """Most bytes of a request, and of the images together that are fetched for one."""
        return round(self.max_body * 2**20)
