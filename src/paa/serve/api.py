"""The endpoint for programs: POST /predict, and what is known of the server: /health, /metrics, /openapi.json."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Annotated

import anyio
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paa.data.read_report import printable
from paa.detections import Detections
from paa.errors import ImageError, TooManyPixelsError
from paa.inference.keep import Keep, keep_for
from paa.inference.prepared import Prepared
from paa.serve.answers import wait_for, while_connected
from paa.serve.batcher import ClosedError, QueueFullError
from paa.serve.guards import BodyLimit, OriginGuard, QueryGuard
from paa.serve.images import decode_upload
from paa.serve.metrics import CONTENT_TYPE, Metrics
from paa.serve.requests import BODY, SentImage, read_images
from paa.serve.service import Service
from paa.serve.shapes import Health, Options, Predictions, Problem, image_result

_PROBLEMS = {
    400: "no image in the request, too many of them, or a URL that cannot be fetched",
    403: "URLs where the server fetches none, or a request from another site's page",
    408: "the images do not arrive in time",
    413: "the request or what is at its URLs is too large, or an image has too many pixels",
    415: "not an image, or not one that can be decoded; another content type",
    422: "an option that is unknown or invalid, an unknown class, voting that an exported model does not have",
    503: "too much to do: try again after the seconds in Retry-After",
    504: "the network had no time for the images",
    507: "the server's disk has no room for the images",
}

_PATIENCE = 1.0
"""Seconds that a request waits for one of the places: after a burst some are those of clients that have left already,
which the server sees as soon as it comes to look."""


def make_app(service: Service, *, allow_urls: bool = False, hosts: Collection[str] | None = None) -> FastAPI:
    """Return the application. hosts: the names under which the server answers; None for any."""
    app = FastAPI(title="paa serve", version=service.version, docs_url=None, redoc_url=None)  # these load from a CDN
    app.add_middleware(CORSMiddleware)  # no other site may read; without this one the page would add its own
    app.add_middleware(BodyLimit, limit=service.limits.max_bytes)
    app.add_middleware(QueryGuard)
    app.add_middleware(OriginGuard, hosts=hosts)
    app.add_middleware(_Counted, metrics=service.metrics)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(Exception, _failed)
    decoders = anyio.CapacityLimiter(os.cpu_count() or 1)  # each may hold an image of --max-pixels
    in_progress = anyio.Semaphore(service.limits.queue)

    @app.post(
        "/predict",
        response_model=Predictions,
        responses={status: {"model": Problem, "description": text} for status, text in _PROBLEMS.items()},
        openapi_extra=BODY,
    )
    async def predict(request: Request, options: Annotated[Options, Query()]) -> Predictions:
        """Detect in image files, or in the images at URLs."""
        _check_given_once(request)
        keep, voting = _choices(service, options)
        with anyio.move_on_after(_PATIENCE) as waiting:
            await in_progress.acquire()
        if waiting.cancelled_caught:
            raise _busy()
        try:
            images = await read_images(request, service.limits, allow_urls)
            prepared, found = await while_connected(request, _detected(images, voting))
        finally:
            in_progress.release()
        return Predictions(
            images=[
                image_result(image.name, ready.size, keep(detections))
                for image, ready, detections in zip(images, prepared, found)
            ]
        )

    async def _prepared(images: list[SentImage]) -> list[Prepared]:
        def prepare(image: SentImage) -> Prepared:
            return service.prepare(decode_upload(image.data, image.name))

        try:
            with anyio.fail_after(service.limits.timeout):
                return [await anyio.to_thread.run_sync(prepare, image, limiter=decoders) for image in images]
        except TimeoutError:
            raise HTTPException(504, f"decoding took longer than {service.limits.timeout:g} seconds") from None
        except TooManyPixelsError as error:
            raise HTTPException(413, str(error)) from error
        except ImageError as error:
            raise HTTPException(415, str(error)) from error

    async def _detected(images: list[SentImage], voting: bool) -> tuple[list[Prepared], list[Detections]]:
        prepared = await _prepared(images)
        try:
            futures = service.submit(prepared, voting)
        except QueueFullError:
            raise _busy() from None
        except ClosedError:
            raise HTTPException(503, "the server is closing") from None
        return prepared, await wait_for(futures, service.limits.timeout)

    @app.head("/health", include_in_schema=False)  # which some watchers ask for in place of GET
    @app.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def health() -> JSONResponse:
        """Say whether images are taken, and what the server is."""
        about = Health(
            status="ready" if service.ready else "closing",
            model=service.name,
            classes=service.names,
            device=service.device,
            version=service.version,
        )
        return JSONResponse(about.model_dump(), 200 if service.ready else 503)

    @app.head("/metrics", include_in_schema=False)
    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return counters in Prometheus's text format."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    return app


def _check_given_once(request: Request) -> None:
    """Raise HTTPException 422 for an option given twice, of which the last value alone would count."""
    for name in ("threshold", "voting"):
        if len(request.query_params.getlist(name)) > 1:
            raise HTTPException(422, f"{name}: given more than once")


def _choices(service: Service, options: Options) -> tuple[Keep, bool]:
    """Return which detections are wanted, and whether scores vote; HTTPException 422 for what the model cannot."""
    unknown = [name for name in options.classes if name not in service.names]
    if unknown:
        raise HTTPException(422, f"classes: the model has no class {unknown[0]!r}; /health lists its classes")
    voting = service.voting if options.voting is None else options.voting
    if service.fixed_voting and voting != service.voting:
        raise HTTPException(422, f"voting: is {str(service.voting).lower()} in this exported model, and stays so")
    threshold = service.threshold if options.threshold is None else options.threshold
    if 0 < threshold < service.least:
        raise HTTPException(
            422, f"threshold: 0, or from {service.least:g} on; lower ones are had with paa serve --threshold"
        )
    return keep_for(service.names, threshold, classes=options.classes), voting


def _busy() -> HTTPException:
    return HTTPException(503, "too many images wait already: try again later", {"Retry-After": "1"})


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Answer with one line in place of FastAPI's list."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    unknown = f"unknown option; known: {', '.join(Options.model_fields)}"
    reason = unknown if first["type"] == "extra_forbidden" else first["msg"]
    return JSONResponse({"detail": printable(f"{first['loc'][-1]}: {reason}")}, 422)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """Answer with the reason in one line, whatever is in the names that the client sent."""
    assert isinstance(error, StarletteHTTPException)
    return JSONResponse({"detail": printable(error.detail)}, error.status_code, error.headers)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    """Answer that the server is at fault; the error itself is raised on, and logged."""
    return JSONResponse({"detail": "internal error: the server's log has more"}, 500)


class _Counted:
    """Counts the answers to requests for predictions by their status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or scope["path"] != "/predict":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.request(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except Exception:  # which is answered outside of this
            self._metrics.request(500)
            raise
