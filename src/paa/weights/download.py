"""Download a file once: checked by its SHA-256, resumed where it was cut off, by one process at a time."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import secrets
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from paa.errors import format_bytes
from paa.runtime.files import cannot_write
from paa.runtime.locks import try_lock
from paa.runtime.web import reason, request
from paa.weights.unsupported import describe_start

log = logging.getLogger("paa")

TIMEOUT = 20.0
"""Seconds without an answer or without `SLOWEST` bytes a second on average, after which a connection is given up."""
SLOWEST = 1024
PAUSES = (0.5, 1.0, 2.0)
"""Seconds before each new attempt; an attempt that brings a megabyte starts the count anew."""

_PROGRESS_EVERY = 10.0  # seconds, on a terminal
_PIECE = 2**20  # bytes that are read and written at a time
_PASSING = {408, 425, 429}  # HTTP's client errors that a later attempt may not meet


class DownloadError(Exception):
    """Why a file could not be downloaded, in one line."""


def download(address: str, path: Path, sha256_prefix: str) -> None:
    """Make sure that `path` is the file of an address: nothing is requested if it is there already.

    address: http, https or file. sha256_prefix: the first hexadecimal digits of the file's SHA-256. A file with another
    hash is never at `path` because of this function; one that was there is replaced. What a broken connection brought
    stays beside it as `*.partial`, from which the next call goes on. DownloadError if the file cannot be had.
    """
    try:
        while not is_intact(path, sha256_prefix):
            path.parent.mkdir(parents=True, exist_ok=True)
            with _partial_file(path) as partial:
                if partial is None:  # another process has moved it to `path` meanwhile, or has given up
                    continue
                _complete(address, partial, path, sha256_prefix)
                os.fsync(partial.fileno())
                Path(partial.name).replace(path)
                log.info("%s: fetched, and its SHA-256 is right", path)
    except OSError as error:  # those of the network are DownloadErrors by now
        raise DownloadError(str(cannot_write(path, error))) from error


def remote_size(address: str) -> int | None:
    """Return the size in bytes of the file of an address, as the server states it; DownloadError if it cannot be had.

    None if the server does not say.
    """
    try:
        with urlopen(request(address, method="HEAD"), timeout=TIMEOUT) as response:
            length = response.headers.get("Content-Length", "")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(reason(error, TIMEOUT)) from error
    return int(length) if length.isdecimal() else None


def is_intact(path: Path, sha256_prefix: str) -> bool:
    """Return whether there is a file whose SHA-256 begins so."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _sha256(file).startswith(sha256_prefix)


def _sha256(file: BinaryIO) -> str:
    """Return the SHA-256 of a whole file, in hexadecimal digits."""
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


@contextmanager
def _partial_file(path: Path) -> Iterator[BinaryIO | None]:
    """Yield the file that grows into `path`, opened for appending, as soon as no other process has it.

    None if the other process has moved or removed it meanwhile. It is kept for the next attempt unless it is empty; on
    a file system without locks every process has one of its own, which is not kept.
    """
    shared = partial = path.with_name(f"{path.name}.partial")
    file = partial.open("a+b", buffering=0)
    try:
        waiting = False
        while (locked := try_lock(file.fileno())) is False:
            if not waiting:
                log.info("%s: another process fetches it; waiting", path)
            waiting = True
            time.sleep(0.1)
        if locked is None:
            file.close()
            partial.unlink(missing_ok=True)
            partial = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
            file = partial.open("a+b", buffering=0)
        if not _is_at(file, partial):
            yield None
            return
        try:
            yield file
        finally:
            if _is_at(file, partial) and (partial != shared or file.seek(0, os.SEEK_END) == 0):
                partial.unlink()
    finally:
        file.close()


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Return whether an open file still has that path, which another process may have moved or removed."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _complete(address: str, file: BinaryIO, path: Path, sha256_prefix: str) -> None:
    """Append to a partial file until its hash is right; DownloadError if the server cannot or does not help to."""
    largest, failures = file.seek(0, os.SEEK_END), 0
    if largest and _sha256(file).startswith(sha256_prefix):
        return
    while True:
        try:
            start = _receive(address, file, path)
        except (OSError, http.client.HTTPException, ValueError) as error:
            size = file.seek(0, os.SEEK_END)
            if size >= largest + _PIECE:
                failures, largest = 0, size
            if failures == len(PAUSES) or not _may_pass(error):
                raise DownloadError(reason(error, TIMEOUT)) from error
            log.info("%s; another attempt in %g s", reason(error, TIMEOUT), PAUSES[failures])
            time.sleep(PAUSES[failures])
            failures += 1
            continue
        found = _sha256(file)
        if found.startswith(sha256_prefix):
            return
        what = _describe(file)
        file.truncate(0)
        if start == 0:
            expected = f"starts with {found[: len(sha256_prefix)]}, not {sha256_prefix}"
            raise DownloadError(f"the server sent {what} whose SHA-256 {expected}; they were deleted")
        log.info("%s: not the file that an earlier attempt began; from its start again", address)


def _receive(address: str, file: BinaryIO, path: Path) -> int:
    """Append what is missing of a file in one request; return the number of bytes that were used of those there.

    OSError, HTTPException or ValueError if the request fails, DownloadError if the file cannot be written.
    """
    size = file.seek(0, os.SEEK_END)
    try:
        response = urlopen(request(address, first_byte=size), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or size == 0:
            raise
        file.truncate(0)  # as long as the server's file or longer, and not that file
        return _receive(address, file, path)
    with response:
        start, total = _span(response, size)
        if start != size:
            file.truncate(0)
            start = 0
        rest = "" if total is None else f" ({format_bytes(total)})"
        log.info("fetching %s%s%s", address, rest, f" from byte {start} on" if start else "")
        received = _copy(response, file, start, total, path)
    if total is not None and received < total:
        raise ConnectionError(f"the connection broke after {received} of {total} bytes")
    return start


def _span(response: http.client.HTTPResponse, size: int) -> tuple[int, int | None]:
    """Return the first byte that the server sends, and the length of the whole file, None if it does not say.

    size: the first byte that was asked for; a server that knows no ranges sends the whole file.
    """
    if getattr(response, "status", None) != http.client.PARTIAL_CONTENT:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != size:
        raise ConnectionError(f"the server sent another part of the file than from byte {size} on")
    return size, int(found[2]) if found[2].isdecimal() else None


def _copy(response: http.client.HTTPResponse, file: BinaryIO, size: int, total: int | None, path: Path) -> int:
    """Append the content of a response to a file that has `size` bytes; return the file's size then.

    Ends at `total` bytes. ConnectionError if the content comes more slowly than `SLOWEST`.
    """
    since, then = time.monotonic(), size
    shown = since
    while total is None or size < total:
        piece = response.read1(_PIECE if total is None else min(_PIECE, total - size))
        if not piece:
            break
        _append(file, piece, path)
        size += len(piece)
        now = time.monotonic()
        if now - since > TIMEOUT:
            if size - then < SLOWEST * TIMEOUT:
                raise ConnectionError(f"only {size - then} bytes in {now - since:.0f} seconds")
            since, then = now, size
        if total and now - shown >= _PROGRESS_EVERY and sys.stderr.isatty():
            log.info("%d %% of %s", 100 * size // total, format_bytes(total))
            shown = now
    return size


def _append(file: BinaryIO, piece: bytes, path: Path) -> None:
    """Write all of a piece; DownloadError if the system cannot, after what was written has been given up."""
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        file.truncate(0)  # a full disk is not left full
        raise DownloadError(str(cannot_write(path, error))) from error


def _may_pass(error: Exception) -> bool:
    """Return whether another attempt may succeed after an error of the network."""
    if isinstance(error, HTTPError):
        return error.code >= 500 or error.code in _PASSING
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, socket.gaierror):
        return cause.errno == socket.EAI_AGAIN
    return not isinstance(cause, (ssl.SSLCertVerificationError, FileNotFoundError, ValueError))


def _describe(file: BinaryIO) -> str:
    """Return what a file is that is not the one that was asked for: its size, and its kind if its start shows it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    kind = describe_start(file.read(4096))
    return f"{size} bytes" + (f" ({kind.split(',')[0].split(':')[0]})" if kind else "")
