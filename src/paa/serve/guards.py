"""What is refused before the application sees it: too long a body, an unknown host, pages of other sites."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paa.errors import format_bytes

_DRAINED = 3
"""Up to this multiple of the limit is received and thrown away, as most clients read no answer while they send."""

_READS = ("GET", "HEAD", "OPTIONS")


class BodyLimit:
    """Refuses requests of more than `limit` bytes with 413: at once where they say so, else as soon as they arrive."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > self._limit:
            await _refuse(413, self._reason())(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                while message.get("more_body") and received < _DRAINED * self._limit:
                    message = await receive()
                    received += len(message.get("body", b""))
                raise HTTPException(413, self._reason(), {"Connection": "close"})
            return message

        await self._app(scope, counted, send)

    def _reason(self) -> str:
        return f"the request is larger than {format_bytes(self._limit)}, the limit (--max-body)"


class QueryGuard:
    """Refuses an address whose query is no UTF-8 text, 400: where routing redirects it would fail to read it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        try:
            scope.get("query_string", b"").decode()
        except UnicodeDecodeError:
            await _refuse(400, "the query of the address is not UTF-8 text")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class OriginGuard:
    """Refuses what a page of another site can make a browser send: 403, and 421 for a host that is not among `hosts`.

    A browser says of each request which site's page sent it, or for old browsers and plain HTTP between machines, the
    page's origin; other programs say neither. A foreign name that leads to this machine (DNS rebinding) would make a
    page's requests look like the server's own, but for the host that they name. hosts: None for any.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        self._app, self._hosts = app, None if hosts is None else {_host(host) for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and _split(f"//{host}").hostname not in self._hosts:
            return _refuse(421, f"this server does not answer for the host {host!r} (--hosts)")
        if scope["method"] in _READS:
            return None
        site = headers.get("sec-fetch-site")
        if site is None:
            foreign = "origin" in headers and _split(headers["origin"]).netloc.lower() != host.lower()
        else:
            foreign = site not in ("same-origin", "none")
        return _refuse(403, "pages of other sites may not send requests to this server") if foreign else None


def _host(given: str) -> str:
    """Return a host as requests name it, of a host that may have a port or brackets."""
    bare = given.count(":") > 1 and not given.startswith("[")  # an IPv6 address
    return given.lower() if bare else _split(f"//{given}").hostname or given.lower()


def _split(address: str) -> SplitResult:
    """Return the parts of an address; empty ones for one that is malformed."""
    try:
        parts = urlsplit(address)
        return parts if parts.hostname is not None else _NOTHING
    except ValueError:
        return _NOTHING


_NOTHING = SplitResult("", "", "", "", "")


def _refuse(status: int, reason: str) -> JSONResponse:
    # what is left of the body is not read
    return JSONResponse({"detail": reason}, status, {"Connection": "close"})
