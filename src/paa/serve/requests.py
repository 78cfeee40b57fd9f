"""The images of a request: uploaded files, or URLs that are fetched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import anyio
import msgspec
from fastapi import HTTPException, Request
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from paa.data.images.fetch import FetchLimits, fetch
from paa.errors import ImageError, TooManyBytesError, format_bytes, one_line
from paa.serve.answers import client_left
from paa.serve.limits import Limits

BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "images": {"type": "array", "items": {"type": "string", "contentMediaType": "image/*"}}
                    },
                },
            },
            "application/json": {
                "schema": {"type": "array", "items": {"type": "string", "format": "uri"}},
            },
        },
    }
}
"""What `read_images` takes, for the description of the endpoint; JSON only where the server was told so."""


@dataclass(frozen=True)
class SentImage:
    """An image file in a request, or at a URL in it. name: the file's, or the URL."""

    name: str
    data: bytes


async def read_images(request: Request, limits: Limits, allow_urls: bool) -> list[SentImage]:
    """Return the images of a request, at least one; HTTPException where there are none, or too many.

    408 if they take longer than `limits.timeout` seconds to come, 499 if the client leaves before.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in ("multipart/form-data", "application/json"):
        raise HTTPException(415, "send image files as multipart/form-data, as curl -F images=@photo.jpg does")
    if kind == "application/json" and not allow_urls:
        raise HTTPException(403, "this server fetches no URLs: send image files as multipart/form-data (--allow-urls)")
    try:
        with anyio.fail_after(limits.timeout):
            if kind == "application/json":
                return await _fetched(_urls(await request.body(), limits), limits)
            return await _uploaded(request, limits)
    except TimeoutError:
        raise HTTPException(408, f"the images did not arrive within {limits.timeout:g} seconds (--timeout)") from None
    except ClientDisconnect:
        raise client_left() from None


async def _uploaded(request: Request, limits: Limits) -> list[SentImage]:
    """Return the files of a form, whatever the names of its fields are."""
    try:
        async with request.form(max_files=limits.max_images, max_fields=limits.max_images) as form:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            if not files:
                raise HTTPException(400, "no image file in the form: send some as curl -F images=@photo.jpg does")
            return [SentImage(_sendable(file.filename or "image"), await file.read()) for file in files]
    except (FormParserError, ValueError, LookupError) as error:  # which starlette leaves to the application
        raise HTTPException(400, f"the form is malformed: {one_line(error)}") from error
    except OSError as error:  # large files are kept on disk until all have arrived
        raise HTTPException(507, f"the server has no room for the images: {one_line(error)}") from error


def _sendable(name: str) -> str:
    """Return a name as an answer can hold it: a form in another encoding may have characters that UTF-8 has not."""
    return name.encode("utf-8", "backslashreplace").decode()


def _urls(body: bytes, limits: Limits) -> list[str]:
    """Return the URLs in a JSON list."""
    try:
        urls: list[str] = msgspec.json.decode(body, type=list[str])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        example = json.dumps(["https://example.org/photo.jpg"])
        raise HTTPException(400, f"the body is no JSON list of URLs, as {example}") from None
    if not urls:
        raise HTTPException(400, "no URL in the list")
    if len(urls) > limits.max_images:
        raise HTTPException(400, f"Too many files. Maximum number of files is {limits.max_images}.")
    return urls


async def _fetched(urls: Sequence[str], limits: Limits) -> list[SentImage]:
    """Return the images at URLs, fetched one after another; HTTPException 413 for too many bytes, else 400."""
    images = []
    left = limits.max_bytes
    size_hint = f"the images of a request may have {format_bytes(left)} together (--max-body)"
    for url in urls:
        try:
            # a little longer than the whole request may take, so that 408 is always the answer to that
            within = FetchLimits(left, limits.timeout + 1, size_hint, "--timeout N waits longer")
            data = await anyio.to_thread.run_sync(fetch, url, within, abandon_on_cancel=True)
        except ImageError as error:
            raise HTTPException(413 if isinstance(error, TooManyBytesError) else 400, str(error)) from error
        images.append(SentImage(url, data))
        left -= len(data)
    return images
