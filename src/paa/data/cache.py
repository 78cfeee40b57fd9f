"""A cache of indexes of large annotation files: memory-mapped in milliseconds instead of read again.

An entry is one safetensors file: the index's columns as they are in memory, with the class names and the warnings of
the reading in its header. The entry's name is a digest of all that the index depends on, so an entry never changes.
Processes that map the same entry, such as the workers of a loader, share its memory.

Entries are in `$XDG_CACHE_HOME/paa` (`~/.cache/paa`), or in the folder that `PAA_CACHE` names; `PAA_CACHE=off` switches
the cache off. Any entry may be removed at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from paa import __version__
from paa.data.files.folders import list_folder
from paa.data.index import DatasetIndex
from paa.data.read_report import ReadReport
from paa.errors import RunError, one_line
from paa.runtime.files import whole_file

log = logging.getLogger("paa")

_FORMAT = 6  # raise this number when the same file and options give a different index than before
_SUFFIX = ".paa-index"
_SMALLEST = 10_000_000  # bytes of annotations; a smaller file is read in a fraction of a second
_SETTLED = 2_000_000_000  # nanoseconds; a file that changed later may change again and keep its time stamps
_KEPT = 30 * 24 * 3600  # seconds that an entry is kept without being used

_COLUMNS = ("file_names", "image_ids", "sizes", "offsets", "boxes", "labels", "crowd", "areas", "category_ids")


_DTYPES = {
    **dict.fromkeys(("image_ids", "offsets", "labels", "category_ids"), np.int64),
    **dict.fromkeys(("boxes", "areas"), np.float32),
    "sizes": np.int32,
    "crowd": np.bool_,
}


class _State(NamedTuple):
    """The attributes of a file that change when its content does; times in nanoseconds."""

    size: int
    inode: int
    modified: int
    changed: int


@dataclass(frozen=True)
class MappedIndex(DatasetIndex):
    """An index whose columns are mapped, read-only, from `file`; its pickle holds only that path."""

    file: Path | None = field(default=None, init=False)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.file is not None and self.file.is_file():
            return map_index, (self.file,)
        return DatasetIndex, tuple(getattr(self, column.name) for column in fields(DatasetIndex))


def cached(
    file: Path, options: Mapping[str, Any], report: ReadReport, read: Callable[[], DatasetIndex]
) -> DatasetIndex:
    """Return the index that `read` returns, from the cache if the same file was read before with the same options.

    options: all that the index depends on besides the file, as JSON values. report: what `read` adds to the report is
    cached with the index, and added again; a detailed report is not cached. An entry that is damaged, or cannot be
    written, is ignored.
    """
    folder, state = _folder(), _state(file)
    if folder is None or state.size < _SMALLEST or report.detailed:
        return read()
    depends_on = [_FORMAT, __version__, str(file), str(file.absolute()), state, dict(options)]
    entry = folder / f"{hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()[:32]}{_SUFFIX}"
    known = _load(entry, report)
    if known is not None:
        return known
    settled = time.time_ns() - max(state.modified, state.changed) > _SETTLED
    before = len(report.left_out), len(report.warnings)
    index = read()
    if not settled or _state(file) != state or report.images_left_out:  # the repair of a bad image would go unnoticed
        return index
    try:
        _store(entry, index, report.left_out[before[0] :], report.warnings[before[1] :])
        _forget_unused(folder)
        return map_index(entry)
    except (OSError, RunError, SafetensorError) as error:
        log.info("%s: not cached: %s", file, one_line(error))
        return index


def map_index(entry: Path) -> MappedIndex:
    """Return the index in an entry, unchecked. Raises OSError and SafetensorError."""
    with safe_open(entry, "pt") as stored:
        facts = json.loads(stored.metadata()["facts"])
        columns = {name: stored.get_tensor(name).numpy() for name in _COLUMNS}
    file_names = columns["file_names"]
    columns["file_names"] = file_names.view(f"S{file_names.shape[1]}")[:, 0]
    for column in columns.values():
        column.flags.writeable = False
    index = MappedIndex(root=Path(facts["root"]), names=tuple(facts["names"]), **columns)
    object.__setattr__(index, "file", entry)
    return index


def _load(entry: Path, report: ReadReport) -> MappedIndex | None:
    """Return the index in an entry, and add its warnings to the report.

    None if the entry does not exist or is damaged, or if an image was removed.
    """
    try:
        with safe_open(entry, "pt") as stored:
            facts, checksum = (stored.metadata()[key] for key in ("facts", "checksum"))
        index = map_index(entry)
        if checksum != _checksum(facts, index):
            raise ValueError("wrong checksum")
        left_out, warnings = (_lines(json.loads(facts)[key]) for key in ("left_out", "warnings"))
        _check(index)
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RecursionError) as error:
        log.info("%s: cannot be used, the annotations are read again: %s", entry, one_line(error))
        return None
    if not _has_all_files(index):
        return None
    with suppress(OSError):  # the cache may be read-only
        os.utime(entry)
    report.left_out += left_out
    report.warnings += warnings
    return index


def _lines(value: Any) -> list[str]:
    """Return a list of texts; ValueError for anything else."""
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        raise ValueError("not a list of texts")
    return value


def _check(index: DatasetIndex) -> None:
    """Raise ValueError for columns that contradict each other, which only a program can have written on purpose."""
    images, boxes, classes = len(index.file_names), len(index.boxes), len(index.names)
    shapes = {
        "image_ids": (images,),
        "sizes": (images, 2),
        "offsets": (images + 1,),
        "boxes": (boxes, 4),
        "labels": (boxes,),
        "crowd": (boxes,),
        "areas": (boxes,),
        "category_ids": (classes,),
    }
    offsets, labels = index.offsets, index.labels
    if (
        not images
        or any(getattr(index, name).shape != shape for name, shape in shapes.items())
        or any(getattr(index, name).dtype != dtype for name, dtype in _DTYPES.items())
        or offsets[0] != 0
        or offsets[-1] != boxes
        or (np.diff(offsets) < 0).any()
        or (boxes and not 0 <= labels.min() <= labels.max() < classes)
    ):
        raise ValueError("its columns contradict each other")
    _lines(list(index.names))


def _has_all_files(index: DatasetIndex) -> bool:
    """Return whether each image still exists, from one listing of each folder."""
    names: dict[str, set[str]] = {}
    for name in index.file_names.tolist():
        folder, slash, last = name.decode("utf-8", "surrogateescape").rpartition("/")
        names.setdefault(folder + slash, set()).add(last)
    return all(expected.issubset(list_folder(index.root / folder).files) for folder, expected in names.items())


def _store(entry: Path, index: DatasetIndex, left_out: list[str], warnings: list[str]) -> None:
    """Write an index, and the report of its reading, to an entry, completely or not at all. Raises RunError."""
    facts = json.dumps(
        {"root": str(index.root), "names": index.names, "left_out": left_out, "warnings": warnings},
    )
    columns = {name: getattr(index, name) for name in _COLUMNS}
    columns["file_names"] = index.file_names.view(np.uint8).reshape(len(index), -1)
    tensors = {name: torch.from_numpy(column) for name, column in columns.items()}
    entry.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(entry, durable=False) as temporary:  # several processes may write the same entry
        temporary.write_bytes(save(tensors, {"facts": facts, "checksum": _checksum(facts, index)}))


def _forget_unused(folder: Path) -> None:
    for entry in folder.glob(f"*{_SUFFIX}*"):
        with suppress(OSError):  # another process may have removed it
            if time.time() - entry.stat().st_mtime > _KEPT:
                entry.unlink()


def _checksum(facts: str, index: DatasetIndex) -> str:
    checksum = zlib.crc32(facts.encode())
    for name in _COLUMNS:
        checksum = zlib.crc32(np.ascontiguousarray(getattr(index, name)).view(np.uint8).data, checksum)
    return str(checksum)


def _state(file: Path) -> _State:
    stat = file.stat()
    return _State(stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)


def _folder() -> Path | None:
    """Return the folder of the cache, None if it is switched off."""
    named = os.environ.get("PAA_CACHE")
    if named:
        return None if named == "off" else Path(named)
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not Path(base).is_absolute():  # the specification of XDG_CACHE_HOME ignores relative paths
        try:
            base = str(Path.home() / ".cache")
        except RuntimeError:  # a user without a home
            return None
    return Path(base, "paa")
