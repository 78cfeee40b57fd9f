"""What a server did, as counters in Prometheus's text format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """Requests by status, images, batches and their sizes, seconds of the network, images that wait."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory and processor time
        self._requests = Counter("paa_requests", "Requests for predictions", ["status"], registry=registry)
        self._images = Counter("paa_images", "Images that the network looked at", registry=registry)
        self._sizes = Histogram("paa_batch_images", "Images of a batch", buckets=_SIZES, registry=registry)
        self._seconds = Histogram(
            "paa_inference_seconds", "Seconds that a batch took", buckets=_SECONDS, registry=registry
        )
        self._waiting = Gauge("paa_queue_images", "Images that wait for the network", registry=registry)

    def request(self, status: int) -> None:
        """Count an answer to a request for predictions."""
        self._requests.labels(str(status)).inc()

    def batch(self, images: int, seconds: float) -> None:
        """Count a batch."""
        self._images.inc(images)
        self._sizes.observe(images)
        self._seconds.observe(seconds)

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Report what `length` returns as the number of images that wait."""
        self._waiting.set_function(length)

    def text(self) -> bytes:
        """Return all of it, as Prometheus reads it."""
        return generate_latest(self._registry)
