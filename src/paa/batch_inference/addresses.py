"""The addresses of images: local paths, http URLs, and those of every store that fsspec knows (s3://, gs://, ...)."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from paa.config import FetchConfig
from paa.data.images.decoders import decodable_suffixes, undecodable_suffixes
from paa.data.images.fetch import is_url, read_url
from paa.data.images.read import decode_image, read_image
from paa.data.images.rgb import Rgb
from paa.errors import ConfigError, DataError, ImageError, RunError, TooManyBytesError, format_bytes, one_line
from paa.inference.sources import find_images

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")  # of two characters or more: C:/ is a disk
_TRIES = 3
_PAUSE = 2.0  # seconds before the second try, twice as many before the third
_OF_ONE_IMAGE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError)
"""Errors of a store that concern one address; all others may be gone a moment later, or concern every address."""
_OF_THE_DISK = (errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOTCONN, errno.ETIMEDOUT)
"""Errors of a disk, or of what is mounted there, that concern every image; EIO may be one damaged file."""


def in_store(address: str) -> bool:
    """Return whether an address is for fsspec: it has a scheme, and is none of http."""
    return _SCHEME.match(address) is not None and not is_url(address)


def file_system(address: str) -> tuple[Any, str]:
    """Return fsspec's file system for an address, and the path in it.

    ConfigError for a scheme that fsspec does not know, and where the package for it is not installed.
    """
    from fsspec.core import url_to_fs

    try:
        found: tuple[Any, str] = url_to_fs(address)
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None)
        raise ConfigError(
            f"{address}: {one_line(error)}" + (f": pip install {missing.partition('.')[0]}" if missing else "")
        ) from error
    except Exception as error:  # each store has errors of its own
        raise ConfigError(f"{address}: {one_line(error)}") from error
    return found


def find_addresses(given: Sequence[str], listed: Sequence[str] = ()) -> list[str]:
    """Return the addresses of all images, sorted, each once; local ones as absolute paths.

    given: images, folders and patterns; folders of stores too, in which the suffix decides what is an image. http URLs
    are images. listed: images, which are not looked for: asking a store about each would take too long. DataError
    where there is no image, ConfigError as of `file_system`.
    """
    found: set[str] = set()
    for text in given:
        if is_url(text):
            found.add(text)
        elif in_store(text):
            found.update(_find_in_store(text))
        else:
            found.update(str(path.absolute()) for path in find_images([Path(text)]))
    found.update(text if is_url(text) or in_store(text) else str(Path(text).absolute()) for text in listed)
    for address in {address.partition("://")[0]: address for address in found if in_store(address)}.values():
        file_system(address)  # a scheme that cannot be read is an error now, not in a worker
    return sorted(found)


def hash_of(addresses: Sequence[str]) -> str:
    """Return a SHA-256 that tells one list of addresses from others."""
    digest = hashlib.sha256()
    for address in addresses:
        digest.update(os.fsencode(address) + b"\0")
    return digest.hexdigest()


def read_address(address: str, limits: FetchConfig = FetchConfig()) -> Rgb:
    """Return the image at an address, as `read_image` does.

    limits: of images that are not local; the time counts for http alone, as a store's own settings have one.
    ImageError for what concerns this image; RunError, after three tries, where its store fails, which would make
    errors of all images after it. A disk of the network may fail like a store.
    """
    if is_url(address):
        return read_url(address, limits)
    if not in_store(address):
        return _on_disk(Path(address))
    return decode_image(_bytes_in_store(address, round(limits.max_mb * 2**20)), address)


def _find_in_store(address: str) -> list[str]:
    """Return the images that an address of a store names: one, those in a folder at any depth, those of a pattern.

    As on a disk: none that are hidden, and also those that cannot be decoded here, so that they are listed as errors.
    """
    files, path = file_system(address)
    first, link, rest = address.partition("::")  # a chain, as zip://photos/*.jpg::s3://bucket/photos.zip
    try:
        if files.isdir(path):
            inside = [name for name in files.find(path) if "/." not in f"/{name.removeprefix(path)}"]
        elif files.exists(path):  # before patterns: names may have brackets
            return [address]
        elif re.search(r"[*?\[]", first):
            fitting = files.glob(path, detail=True).items()
            hidden_too = "/." in f"/{path}"
            inside = [
                name for name, at in fitting if at["type"] != "directory" and (hidden_too or "/." not in f"/{name}")
            ]
        else:
            raise DataError(f"{address}: no such file or folder")
    except DataError:
        raise
    except Exception as error:  # each store has errors of its own
        raise DataError(f"{address}: cannot be read: {one_line(error)}") from error
    suffixes = decodable_suffixes() | undecodable_suffixes()
    images = [name for name in inside if PurePosixPath(name).suffix.lower() in suffixes]
    if not images:
        raise DataError(f"{address}: no images here ({', '.join(sorted(decodable_suffixes()))})")
    if link:
        return [f"{first.partition('://')[0]}://{name}::{rest}" for name in images]
    return [str(files.unstrip_protocol(name)) for name in images]


def _on_disk(path: Path) -> Rgb:
    for again in reversed(range(_TRIES)):
        try:
            return read_image(path)
        except ImageError as error:
            number = getattr(error.__cause__, "errno", None)  # a decoder's error has none
            if number not in _OF_THE_DISK and (number != errno.EIO or not again):
                raise
            if not again:
                message = f"in {_TRIES} tries; the same command continues when its disk answers again"
                raise RunError(f"{error}, {message}") from error
            time.sleep(_PAUSE * (_TRIES - again))
    raise AssertionError("the last try returns or raises")


def _bytes_in_store(address: str, most: int) -> bytes:
    files, path = file_system(address)
    for again in reversed(range(_TRIES)):
        try:
            data = _start_of(files, path, most + 1)
            break
        except _OF_ONE_IMAGE as error:
            raise ImageError(f"{address}: {_reason(error)}") from error
        except Exception as error:  # each store has errors of its own
            if not again:
                message = f"{address}: cannot be read, in {_TRIES} tries: {one_line(error)}"
                raise RunError(f"{message}; the same command continues when its store answers again") from error
            time.sleep(_PAUSE * (_TRIES - again))
    if len(data) > most:
        raise TooManyBytesError(f"{address}: more than {format_bytes(most)}; --url.max-mb N allows more")
    return data


def _start_of(files: Any, path: str, most: int) -> bytes:
    """Return a file's first bytes, at most so many."""
    try:
        data: bytes = files.cat_file(path, start=0, end=most)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        data = files.cat_file(path)  # S3 refuses to give any range of an empty file
    return data


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such image"
    return error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
