"""paa serve: a page and an endpoint that detect in the images that people and programs send."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional, arg

from paa.commands.options import DetectorFormat, InferenceOptions, limit_pixels
from paa.config import InferenceConfig
from paa.serve.limits import MAX_PIXELS, Limits

if TYPE_CHECKING:
    from fastapi import FastAPI
    from rich.console import Console

    from paa.serve.service import Service


@dataclass(frozen=True)
class Serve:
    """Serve a detector: a page where one drops images, and POST /predict for programs."""

    checkpoint: Positional[Path]
    """A checkpoint of this project, PAA_minimal, the official code or MMDetection, an exported model (*.onnx, *.xml,
    *.pt2), or a name, as mmdet/r50_1x (paa weights lists them)."""
    checkpoint_format: DetectorFormat | None = None
    """Format of the checkpoint; default: recognised from its content."""
    host: str = "127.0.0.1"
    """The address at which the server listens; the default is for this machine alone, 0.0.0.0 for every other too."""
    port: int = 8000
    """The port; 0: any free one, which is printed."""
    hosts: tuple[str, ...] = ()
    """Names under which browsers and programs ask for the server, beside localhost; needed where it listens on this
    machine alone and a proxy passes the name on. Without, --host 0.0.0.0 answers under any name."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; default: a GPU if there is one."""
    inference: InferenceOptions = field(default_factory=lambda: InferenceConfig(threshold=0.3))
    page: bool = True
    """The page at /; without, only the endpoint."""
    allow_urls: bool = False
    """POST /predict takes a JSON list of URLs too, which this machine fetches, wherever they lead: only for clients
    that you trust."""
    limits: Annotated[Limits, arg(name="")] = field(default_factory=Limits)
    max_pixels: int | None = None
    """Most pixels of an image; default: 64000000, or PAA_MAX_PIXELS of the environment."""

    usual: ClassVar[tuple[str, ...]] = (
        "checkpoint",
        "host",
        "port",
        "device",
        "inference.threshold",
        "inference.voting",
        "inference.precision",
        "page",
        "allow_urls",
        "limits.max_batch",
        "limits.queue",
        "limits.timeout",
        "limits.max_body",
        "max_pixels",
    )
    """The options that --help shows."""

    def run(self, console: Console) -> None:
        """Load, listen, and serve until a signal comes."""
        from paa.serve.packages import check_packages

        check_packages()
        import os

        from paa.data.images.decoders import MAX_PIXELS_VARIABLE, max_pixels
        from paa.predictor import load
        from paa.runtime.memory import keep_memory
        from paa.serve.api import make_app
        from paa.serve.server import LOOPBACK, address_of, bind, run_server
        from paa.serve.service import Service

        given = self.max_pixels
        if given is None and not os.environ.get(MAX_PIXELS_VARIABLE):
            given = MAX_PIXELS
        limit_pixels(given)
        max_pixels()  # an invalid value of the environment is named now
        with ExitStack() as stack:
            listening = stack.enter_context(bind(self.host, self.port))
            model = load(self.checkpoint, self.device, format=self.checkpoint_format)
            if model.mean.device.type == "cpu":
                keep_memory()
            model.inference = self.inference
            model.optimise(self.inference.precision, self.inference.compile)
            service = Service(model, self.checkpoint.name, self.limits)
            service.warm_up()
            hosts = {*LOOPBACK, self.host, *self.hosts} if self.host in LOOPBACK or self.hosts else None
            app = make_app(service, allow_urls=self.allow_urls, hosts=hosts)
            close_pages = self._add_page(app, service, stack)

            def end() -> None:
                close_pages()
                service.hurry()

            address = address_of(listening)

            def say(line: str) -> None:
                console.print(line, markup=False, highlight=False)
                console.file.flush()

            run_server(
                app,
                listening,
                on_start=lambda: say(f"serving {self.checkpoint} at {address} (Ctrl+C ends)"),
                on_stop=end,
                seconds=self.limits.timeout,
            )
            service.close()
            say("ended")

    def _add_page(self, app: FastAPI, service: Service, stack: ExitStack) -> Callable[[], object]:
        """Add the page, if it is wanted; return what ends the connections that open pages keep."""
        if not self.page:
            return lambda: None
        from paa.serve.page import add_page, temporary_uploads

        stack.enter_context(temporary_uploads())
        page = add_page(app, service)
        return lambda: page.stop_event.set()
