"""Of what gradio offers to browsers, only what the page needs."""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_API = (
    *("upload", "upload_progress", "queue/join", "queue/data", "cancel", "reset", "info", "app_id", "startup-events"),
    *("heartbeat/[^/]+", "file=/.+"),
)
_NEEDED = re.compile(
    r"/?|/(config|theme\.css|manifest\.json|favicon\.ico|robots\.txt|pwa_icon)|/(assets|static|svelte)/.+|"
    rf"/gradio_api/({'|'.join(_API)})"
)

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "frame-ancestors 'self'"
)
"""The page's content security policy: a browser asks no other server, whatever gradio's scripts try."""


class PageGuard:
    """Lets requests of the page through, and tells the browser to ask no other server."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if not _NEEDED.fullmatch(path):
                await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)
                return

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = _POLICY
            await send(message)

        await self._app(scope, receive, with_policy)
