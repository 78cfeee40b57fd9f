"""Images at URLs that a person gave: fetched into memory, within limits of size, time and redirects."""

from __future__ import annotations

import http.client
import re
import time
from dataclasses import dataclass
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
)

from paa.config import FetchConfig
from paa.data.images.read import decode_image
from paa.data.images.rgb import Rgb
from paa.errors import ImageError, TooManyBytesError, format_bytes
from paa.runtime.web import reason, request

MAX_REDIRECTS = 5

_PIECE = 2**16  # bytes that are read at a time
_ANSWER = 20.0  # seconds without a byte after which a connection is given up
_REDIRECTS = {
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.SEE_OTHER,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
}
_LONGEST_NAME = 100  # characters, so that a name with an ending and a number fits any file system


@dataclass(frozen=True)
class FetchLimits:
    """How much of what is at a URL is fetched, and for how long; hints: how messages say which option allows more."""

    max_bytes: int
    seconds: float
    size_hint: str
    time_hint: str


def is_url(given: str) -> bool:
    """Return whether a person gave the URL of something that can be fetched: http or https."""
    return re.match(r"https?://", given, re.IGNORECASE) is not None


def read_url(url: str, limits: FetchConfig = FetchConfig()) -> Rgb:
    """Return the image at a URL as `read_image` returns that of a file; ImageError if it cannot be had."""
    most = round(limits.max_mb * 2**20)
    size_hint, time_hint = "--url.max-mb N allows more", "--url.timeout N waits longer"
    return decode_image(fetch(url, FetchLimits(most, limits.timeout, size_hint, time_hint)), url)


def fetch(url: str, limits: FetchLimits) -> bytes:
    """Return what is at an http or https URL, after redirects; ImageError in one line that begins with the URL.

    TooManyBytesError, a kind of it, for more bytes than the limit. Redirects are limited in number, lead to no other
    scheme and never from https to http.
    """
    deadline = time.monotonic() + limits.seconds
    silence = min(_ANSWER, limits.seconds)
    try:
        if not is_url(url):
            raise ImageError("not an http or https URL")
        address = _quoted(url)
        for _ in range(MAX_REDIRECTS + 1):
            try:
                with _opener().open(request(address), timeout=silence) as response:
                    return _received(response, limits, deadline)
            except HTTPError as error:
                with error:
                    if (target := error.headers.get("Location")) is None or error.code not in _REDIRECTS:
                        raise
                address = _redirected(address, target)
            _check_time(limits, deadline)
        raise ImageError(f"more than {MAX_REDIRECTS} redirects")
    except ImageError as error:
        raise type(error)(f"{url}: {error}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ImageError(f"{url}: {reason(error, silence)}") from error


def name_of(url: str) -> str:
    """Return a name for files about the image at a URL: the last part of its path that has a letter or digit.

    Without one it is the name of the host. Characters that are not usual in file names become `_`.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # no URL, as `read_url` will say
        return "image"
    for part in (*reversed(parts.path.split("/")), parts.hostname or ""):
        name = re.sub(r"[^\w.+-]+", "_", unquote(part)).lstrip(".")
        if re.search(r"\w", name.replace("_", "")):
            return name[-_LONGEST_NAME:].lstrip(".")
    return "image"


def _opener() -> OpenerDirector:
    """Return what opens http and https, through the proxies that the environment names, and nothing else.

    urllib's usual opener follows redirects by itself, after reading all of their content, and opens local files.
    """
    opener = OpenerDirector()
    for handler in (ProxyHandler, HTTPHandler, HTTPSHandler, HTTPDefaultErrorHandler, HTTPErrorProcessor):
        opener.add_handler(handler())
    return opener


def _redirected(address: str, target: str) -> str:
    """Return where a redirect leads; ImageError for any scheme but http and https, and from https to http."""
    new = urljoin(address, target)
    if not is_url(new) or (urlsplit(address).scheme == "https" and urlsplit(new).scheme != "https"):
        raise ImageError(f"redirects to {new[:100]!r}, which is not followed")
    return _quoted(new)


def _received(response: http.client.HTTPResponse, limits: FetchLimits, deadline: float) -> bytes:
    """Return the content of a response; ImageError if it is too large, too slow or not all there.

    The limit of size counts for what arrives, whatever the server says of its length.
    """
    too_large = f"more than {format_bytes(limits.max_bytes)}; {limits.size_hint}"
    stated = response.headers.get("Content-Length", "")
    length = int(stated) if stated.isdecimal() else None
    if length is not None and length > limits.max_bytes:
        raise TooManyBytesError(f"{format_bytes(length)}, {too_large}")
    content = bytearray()
    while piece := response.read1(_PIECE):
        content += piece
        if len(content) > limits.max_bytes:
            raise TooManyBytesError(too_large)
        _check_time(limits, deadline)
    if length is not None and len(content) < length:
        raise ImageError(f"the connection broke after {len(content)} of {length} bytes")
    return bytes(content)


def _check_time(limits: FetchLimits, deadline: float) -> None:
    """Raise ImageError if no time is left."""
    if time.monotonic() > deadline:
        raise ImageError(f"not all there after {limits.seconds:g} seconds; {limits.time_hint}")


def _quoted(url: str) -> str:
    """Return a URL as it is sent: spaces and letters beyond ASCII in its path and query percent-encoded."""
    parts = urlsplit(url)
    path, query = (quote(part, safe="/%:=&?~+!$,;'@()*[]") for part in (parts.path, parts.query))
    return urlunsplit((parts.scheme.lower(), parts.netloc, path or "/", query, ""))
