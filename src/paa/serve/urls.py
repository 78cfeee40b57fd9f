"""Fetching an image from an http or https URL, of limited size, in limited time."""

from __future__ import annotations

import http.client
import io
import time
import urllib.error
import urllib.request
from typing import IO, Any

from paa.errors import format_bytes, one_line

_PIECE = 2**16


class FetchError(Exception):
    """Why an image could not be fetched, in one line. status: the HTTP status with which that is answered."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows redirections without what stands in them, which Python's own handler reads whole, of whatever length."""

    def http_error_302(self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any) -> Any:
        """Close the answer, and go on to where it leads."""
        fp.close()
        return super().http_error_302(req, io.BytesIO(), code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def fetch(url: str, *, most: int, seconds: float) -> bytes:
    """Return what is at an http or https URL; FetchError if that takes longer, or is more than `most` bytes.

    Redirections are followed, also to other servers, but to no other kind of address.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise FetchError(f"{url}: not an http or https URL")
    opener = urllib.request.OpenerDirector()  # without the handlers of file: and ftp:
    for handler in (
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _Redirections,
        urllib.request.ProxyHandler,
    ):
        opener.add_handler(handler())
    end, data = time.monotonic() + seconds, bytearray()
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "paa"})
        response = opener.open(request, timeout=seconds)
        if response is None:
            raise FetchError(f"{url}: leads to an address that is not http or https")
        with response:
            while piece := response.read1(_PIECE):
                data += piece
                if len(data) > most:
                    raise FetchError(f"{url}: larger than {format_bytes(most)}, the limit (--max-body)", 413)
                if time.monotonic() > end:
                    raise FetchError(f"{url}: took longer than {seconds:g} seconds")
    except urllib.error.HTTPError as error:
        raise FetchError(f"{url}: its server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(f"{url}: {one_line(error)}") from error
    return bytes(data)
