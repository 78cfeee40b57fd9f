"""`paa.BatchDetector`: a function from a table of images to a table of detections, for any engine that has workers."""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paa.batch_inference.addresses import read_address
from paa.batch_inference.tables import ImageResult, to_table
from paa.config import FetchConfig, InferenceConfig, WeightsFormat
from paa.config.checks import check_types
from paa.data.images.decoders import limited_pixels
from paa.data.images.read import decode_image
from paa.data.images.rgb import Rgb
from paa.detections import Detections
from paa.errors import ConfigError, ImageError
from paa.inference.keep import keep_for
from paa.inference.predict import predict
from paa.predictor import PAA, load
from paa.runtime.files import sha256
from paa.runtime.memory import keep_memory
from paa.weights.hosted import local_file

if TYPE_CHECKING:
    import pyarrow

Item = tuple[str, bytes | None]
"""An image: its address, and its file's content where that was read already."""


@dataclass(frozen=True)
class BatchDetector:
    """Detects in batches of images: a table with the column `image` in, a table with a row for each detection out.

    `image` holds addresses: local paths, http URLs, or those of a store that fsspec knows, as s3://bucket/photo.jpg.
    A second column `bytes`, where there is one, holds the files' contents, which are not fetched then. What comes out
    is a pandas.DataFrame for a pandas.DataFrame, as Spark's mapInPandas wants it, else a pyarrow.Table, with the
    columns image, width, height, x1, y1, x2, y2, score, label, name, error. An image without detections has one row,
    whose box, score and class are null; one that cannot be read has one row, with the reason in `error`.

    It holds settings alone and pickles to a few bytes: each process that it is called in loads the checkpoint once.

    checkpoint, device, checkpoint_format: as for `paa.load`. inference: as for `PAA.predict`, with a threshold of 0.3.
    classes, thresholds, top_k: which detections are kept, as by `paa predict`; thresholds are pairs (class name,
    score). batch_size: images of the same padded size at a time. readers: threads that read and decode in advance.
    max_pixels: most pixels of an image. fetching: limits of what is fetched.
    """

    checkpoint: Path | str
    inference: InferenceConfig = InferenceConfig(threshold=0.3)
    device: str | None = None
    checkpoint_format: WeightsFormat | None = None
    classes: tuple[str, ...] = ()
    thresholds: tuple[tuple[str, float], ...] | None = None
    top_k: int | None = None
    batch_size: int = 1
    readers: int = 4
    max_pixels: int | None = None
    fetching: FetchConfig = FetchConfig()

    def __post_init__(self) -> None:
        """Raise ConfigError for an invalid value; lists, and a mapping of thresholds, become tuples, to be hashed."""
        if self.thresholds is not None:
            object.__setattr__(self, "thresholds", _as_pairs(self.thresholds))
        if isinstance(self.classes, str):
            raise ConfigError(f"classes must be a list of names, as ({self.classes!r},), got {self.classes!r}")
        object.__setattr__(self, "classes", tuple(self.classes or ()))
        if not isinstance(self.checkpoint, (str, Path)):
            raise ConfigError(f"checkpoint must be a file or a name, got {self.checkpoint!r}")
        check_types("", self)
        for name, value in (
            ("batch size", self.batch_size),
            ("number of readers", self.readers),
            ("limit of pixels", self.max_pixels),
        ):
            if value is not None and value < 1:
                raise ConfigError(f"the {name} must be at least 1, got {value}")

    def __call__(self, batch: Any) -> Any:
        """Return the table for a batch: a pandas.DataFrame, a pyarrow.Table, or a mapping of columns.

        ConfigError for other columns; RunError where a store fails, as `read_address` says.
        """
        pandas = sys.modules.get("pandas")
        of_pandas = pandas is not None and isinstance(batch, pandas.DataFrame)
        table = to_table(list(self.results(_items(batch))))
        return _to_pandas(table, pandas) if of_pandas else table

    def results(self, items: Iterable[Item]) -> Iterator[ImageResult]:
        """Yield the result of each image, in order, with a few images in memory at a time."""
        model, keep = _loaded(self, _state(self.checkpoint))
        waiting: deque[str | ImageResult] = deque()  # addresses of images that were read, and errors of others

        def images() -> Generator[Rgb, None, None]:
            with closing(self._read_ahead(items)) as ahead:
                for address, image in ahead:
                    if isinstance(image, ImageError):
                        waiting.append(ImageResult(address, error=str(image).removeprefix(f"{address}: ")))
                    else:
                        waiting.append(address)
                        yield image

        with closing(images()) as given:
            for image, detections in predict(model, given, model.inference, batch_size=self.batch_size):
                while isinstance(first := waiting.popleft(), ImageResult):
                    yield first
                yield ImageResult(first, (image.shape[0], image.shape[1]), keep(detections))
        for first in waiting:
            assert isinstance(first, ImageResult)
            yield first

    def check(self) -> None:
        """Load the checkpoint once, on the CPU: CheckpointError or ConfigError where it, or a class, does not exist."""
        self._keep(load(self.checkpoint, "cpu", format=self.checkpoint_format).names)

    def content(self) -> str:
        """Return a hash of the checkpoint's file, and of OpenVINO's weights beside it; "" where there is no file."""
        path = local_file(self.checkpoint)
        files = [each for each in (path, path.with_suffix(".bin")) if each.is_file()]
        return "-".join(_hash(each, _state(each)) for each in files)

    def load(self) -> tuple[PAA, Callable[[Detections], Detections]]:
        """Return the model, ready to predict, and what chooses among its detections; errors as of `check`."""
        model = load(self.checkpoint, self.device, format=self.checkpoint_format)
        # with thresholds of an evaluation, detect as it did, which had no threshold
        model.inference = self.inference if self.thresholds is None else replace(self.inference, threshold=0.0)
        model.optimise(self.inference.precision, self.inference.compile)
        if model.mean.device.type == "cpu":
            keep_memory()
        return model, self._keep(model.names)

    def _keep(self, names: tuple[str, ...]) -> Callable[[Detections], Detections]:
        thresholds = None if self.thresholds is None else dict(self.thresholds)
        threshold = self.inference.threshold
        return keep_for(names, threshold, thresholds=thresholds, classes=self.classes, most=self.top_k)

    def _read_ahead(self, items: Iterable[Item]) -> Generator[tuple[str, Rgb | ImageError], None, None]:
        """Yield images, in order, which threads read while those before them are detected in."""
        reading: deque[tuple[str, Future[Rgb | ImageError]]] = deque()
        pool = ThreadPoolExecutor(self.readers)
        try:
            for address, content in items:
                reading.append((str(address), pool.submit(self._read, address, content)))
                if len(reading) > self.readers:
                    first, image = reading.popleft()
                    yield first, image.result()
            while reading:
                first, image = reading.popleft()
                yield first, image.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, address: object, content: object) -> Rgb | ImageError:
        try:
            if not isinstance(address, str):
                raise ImageError(f"an address is a text, not of type {type(address).__name__}")
            with limited_pixels(self.max_pixels):
                if content is None:
                    return read_address(address, self.fetching)
                if not isinstance(content, (bytes, bytearray, memoryview)):
                    raise ImageError(f"the content of a file is bytes, not of type {type(content).__name__}")
                return decode_image(bytes(content), address)
        except ImageError as error:
            return error


def _as_pairs(thresholds: Any) -> tuple[tuple[str, float], ...]:
    """Return scores by class name as pairs, from a mapping or from pairs; ConfigError for anything else."""
    try:
        pairs = tuple(dict(thresholds).items())
    except (TypeError, ValueError):
        pairs = ((thresholds, None),)
    if not all(isinstance(name, str) and isinstance(score, Real) for name, score in pairs):
        raise ConfigError(f"thresholds must be scores by class name, got {thresholds!r}")
    return pairs


@functools.lru_cache(maxsize=2)
def _loaded(detector: BatchDetector, state: tuple[int, ...]) -> tuple[PAA, Callable[[Detections], Detections]]:
    """Return what `load` does, once in a process. state: what changes when the checkpoint's file does."""
    return detector.load()


@functools.lru_cache(maxsize=4)
def _hash(path: Path, state: tuple[int, ...]) -> str:
    return sha256(path)


def _state(checkpoint: Path | str) -> tuple[int, ...]:
    """Return what changes when a file does; nothing for the name of a model."""
    try:
        found = Path(checkpoint).stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _items(batch: Any) -> Iterator[Item]:
    """Yield the images of a table: a DataFrame, an Arrow table or a mapping, of which only iteration is used."""
    names = list(getattr(batch, "column_names", batch))
    if "image" not in names:
        raise ConfigError(f"a batch of images has a column image, and may have a column bytes; this one has {names}")
    images = [str(value) if isinstance(value, Path) else _plain(value) for value in batch["image"]]
    contents = [_plain(value) for value in batch["bytes"]] if "bytes" in names else [None] * len(images)
    if len(contents) != len(images):
        raise ConfigError(f"a batch of {len(images)} images has {len(contents)} contents in its column bytes")
    return zip(images, contents)


def _plain(value: Any) -> Any:
    """Return a value of an Arrow column, which is no Python object, as one; others as they are."""
    return value.as_py() if hasattr(value, "as_py") else value


def _to_pandas(table: pyarrow.Table, pandas: Any) -> Any:
    """Return a DataFrame in which whole numbers stay whole numbers beside nulls."""
    import pyarrow

    return table.to_pandas(
        types_mapper={pyarrow.int32(): pandas.Int32Dtype(), pyarrow.int64(): pandas.Int64Dtype()}.get
    )
