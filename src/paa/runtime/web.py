"""Requests over HTTP, and in few words what went wrong with one."""

from __future__ import annotations

from urllib.error import HTTPError, URLError
from urllib.request import Request

from paa.errors import one_line


def request(address: str, *, first_byte: int = 0, method: str = "GET") -> Request:
    """Return a request for a file, or for its part from a byte on."""
    headers = {"User-Agent": "paa"}
    if first_byte:
        headers["Range"] = f"bytes={first_byte}-"
    return Request(address, headers=headers, method=method)


def reason(error: Exception, timeout: float) -> str:
    """Return what went wrong with a request, in a few words. timeout: the seconds without an answer that it allowed."""
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer for {timeout:g} seconds"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return one_line(cause) if isinstance(cause, Exception) else str(cause)
