"""The page for people: drop images, move the threshold, see boxes, take the results along."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

# gradio, and the hub's library that it imports, would otherwise report to other servers
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["GRADIO_RUN_HISTORY"] = "False"  # nothing is kept in the browser

import gradio as gr
from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import RedirectResponse
from PIL import Image, ImageDraw
from starlette.routing import Mount

from paa.drawing.palette import class_colour
from paa.errors import ImageError
from paa.serve.album import Album, Albums, Choice, WaitedTooLongError
from paa.serve.batcher import ClosedError, QueueFullError
from paa.serve.page_guard import PageGuard
from paa.serve.service import Service

PATH = "/page"
"""Where the page is. / leads to it, and is not it, as everything below would be taken for the page's."""

_AGE = 24 * 3600  # seconds after which a dropped file is deleted
_MANY_CLASSES = 12
_FIXED = "part of the exported model, cannot be changed"
_SYSTEM_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")
_MONOSPACE = ("ui-monospace", "Consolas", "monospace")

_STYLE = """
.paa-links { display: flex; flex-wrap: wrap; gap: 8px; }
.paa-links a { flex: 1 1 12em; text-align: center; padding: 10px; border-radius: var(--button-large-radius);
  background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color);
  text-decoration: none; }
.paa-links a:hover { background: var(--button-secondary-background-fill-hover); }
"""


@contextmanager
def temporary_uploads() -> Iterator[None]:
    """Keep what visitors drop in a folder of its own, which is removed at the end."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    with TemporaryDirectory(prefix="paa-serve-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


def add_page(app: FastAPI, service: Service) -> gr.routes.App:
    """Add the page to an application, and return the application of the page itself.

    Its `stop_event` ends the connections that open pages keep.
    """
    albums = Albums(service)

    @app.get("/", include_in_schema=False)
    def start() -> RedirectResponse:
        return RedirectResponse(PATH.lstrip("/") + "/")

    @app.get("/manifest.json", include_in_schema=False)  # gradio's pages ask for these two at the root
    def manifest() -> dict[str, str]:
        return {"name": service.name}

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:
        return Response(_icon(), media_type="image/png")

    @app.get(f"{PATH}/results/{{name}}/detections.json", include_in_schema=False)
    def results(name: str) -> Response:
        found = _album(albums, name).results().model_dump()
        return _download("detections.json", json.dumps(found, indent=1).encode())

    @app.get(f"{PATH}/results/{{name}}/drawings", include_in_schema=False)
    def drawings(name: str) -> Response:
        try:
            return _download(*_album(albums, name).drawings())
        except (ImageError, OSError):
            raise HTTPException(404, "the images are no longer here: drop them again") from None

    theme = gr.themes.Default(primary_hue="blue", font=_SYSTEM_FONTS, font_mono=_MONOSPACE)
    gr.mount_gradio_app(
        app,
        _blocks(service, albums),
        PATH,
        theme=theme,
        css=_STYLE,
        footer_links=[],
        show_error=False,
        max_file_size=service.limits.max_bytes,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
    )
    mounted = next(route for route in app.routes if isinstance(route, Mount))
    page = mounted.app
    assert isinstance(page, gr.routes.App)
    mounted.app = PageGuard(page)
    return page


def _refuse_urls(files: gr.File) -> None:
    """Let a component take files that were sent, but not URLs in their place, which gradio would fetch."""
    take = files.async_move_resource_to_block_cache

    async def take_file(path: str | Path | None) -> str | None:
        if "://" in str(path):
            raise gr.Error("URLs are not fetched here", print_exception=False)
        return await take(path)

    # not a method of a subclass: of each subclass gradio writes a stub file beside its source
    files.async_move_resource_to_block_cache = take_file  # type: ignore[method-assign,assignment]


def _blocks(service: Service, albums: Albums) -> gr.Blocks:
    """Return the page's layout, and what happens on it."""
    many = len(service.names) > _MANY_CLASSES
    title = f"{service.name} - PAA"
    blocks = gr.Blocks(analytics_enabled=False, title=title, fill_width=True, delete_cache=(600, _AGE))
    with blocks:
        name = gr.State("")
        selected = gr.State(0)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                files = gr.File(
                    label=f"Images, at most {service.limits.max_images}",
                    file_count="multiple",
                    file_types=["image"],
                    height=180,
                    elem_id="files",
                )
                _refuse_urls(files)
                lowest = min(service.least, service.threshold)  # below it, the network leaves out what it finds
                threshold = gr.Slider(
                    lowest, 1, service.threshold, step=0.01, label="Least score", elem_id="threshold", buttons=[]
                )
                voting = gr.Checkbox(
                    service.voting,
                    label="Score voting",
                    info=_FIXED if service.fixed_voting else "each box is the mean of those around it",
                    interactive=not service.fixed_voting,
                    elem_id="voting",
                )
                if many:
                    classes: gr.Dropdown | gr.CheckboxGroup = gr.Dropdown(
                        list(service.names), value=[], multiselect=True, label="Classes (none: all)", elem_id="classes"
                    )
                else:
                    classes = gr.CheckboxGroup(
                        list(service.names), value=[], label="Classes (none: all)", elem_id="classes"
                    )
                links = gr.HTML(elem_id="links")
            with gr.Column(scale=3, min_width=320):
                gallery = gr.Gallery(
                    label=f"Detections of {service.name}",
                    format="jpeg",
                    columns=2,
                    height="75vh",
                    object_fit="contain",
                    preview=True,
                    interactive=False,
                    buttons=["fullscreen"],
                    elem_id="gallery",
                )

        chosen: list[Any] = [threshold, voting, classes]

        def drop(paths: Sequence[str] | None, *choice: Any) -> list[Any]:
            named, album = albums.new(Choice(choice[0], choice[1], tuple(choice[2])))
            given = [Path(path) for path in paths or ()]
            if len(given) > service.limits.max_images:
                raise gr.Error(f"{len(given)} images, more than {service.limits.max_images}", print_exception=False)
            if given:
                with _shown_errors():
                    album.add(given)
            return [named, 0, _gallery(albums, named, 0), _links(named) if given else ""]

        def change(named: str, index: int, *choice: Any) -> Any:
            album = albums.find(named)
            if album is None:
                if named:
                    gr.Warning("the images are no longer here: drop them again")
                return gr.skip()
            with _shown_errors():
                album.choose(Choice(choice[0], choice[1], tuple(choice[2])))
            return _gallery(albums, named, index)

        def select(event: gr.SelectData) -> int:
            return int(event.index)

        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
        files.change(drop, [files, *chosen], [name, selected, gallery, links], trigger_mode="always_last", **private)
        gr.on(
            [threshold.change, voting.change, classes.change],
            change,
            [name, selected, *chosen],
            gallery,
            trigger_mode="always_last",
            **private,
        )
        gallery.select(select, None, selected, **private)
    blocks.queue(default_concurrency_limit=os.cpu_count() or 1, max_size=service.limits.queue, api_open=False)
    return blocks


def _gallery(albums: Albums, name: str, index: int) -> Any:
    album = albums.find(name)
    shown = [] if album is None else album.previews()
    return gr.Gallery(shown, selected_index=min(index, len(shown) - 1) if shown else None)


def _links(name: str) -> str:
    """Return the links below which the results are, as they are shown when a link is followed."""
    place = f"results/{quote(name)}"
    return (
        f'<div class="paa-links"><a href="{place}/detections.json" download>Results as JSON</a>'
        f'<a href="{place}/drawings" download>Drawings in full size</a></div>'
    )


def _album(albums: Albums, name: str) -> Album:
    album = albums.find(name)
    if album is None or not len(album):
        raise HTTPException(404, "the images are no longer here: drop them again")
    return album


def _icon() -> bytes:
    """Return a PNG of a box around something."""
    image = Image.new("RGBA", (32, 32))
    pen = ImageDraw.Draw(image)
    pen.ellipse((10, 10, 21, 21), fill=class_colour(1))
    pen.rectangle((3, 3, 28, 28), outline=class_colour(0), width=4)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _download(name: str, data: bytes) -> Response:
    kind = {"json": "application/json", "jpg": "image/jpeg", "zip": "application/zip"}[name.rpartition(".")[2]]
    disposition = f"attachment; filename*=UTF-8''{quote(name)}"
    return Response(data, media_type=kind, headers={"Content-Disposition": disposition, "Cache-Control": "no-store"})


@contextmanager
def _shown_errors() -> Iterator[None]:
    """Turn what may go wrong inside into a message on the page."""
    try:
        yield
    except ImageError as error:
        message = str(error)
    except QueueFullError:
        message = "too many images wait already: try again later"
    except ClosedError:
        message = "the server is closing"
    except WaitedTooLongError:
        message = "the network had no time for the images: try again later"
    except OSError:
        message = "the images are no longer here: drop them again"
    else:
        return
    raise gr.Error(message, print_exception=False)
