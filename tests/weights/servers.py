"""A file server on loopback that misbehaves as a test wants: it cuts off, lies, hangs, answers with errors."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]
"""Answers one request."""


@dataclass
class Server:
    """The running server: request number i gets `answers[i]`, and all after the last one get that.

    requests: method, path and Range header of each request so far.
    """

    url: str
    answers: list[Answer]
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def ranges(self) -> list[str | None]:
        """The Range headers of the requests."""
        return [given for _, _, given in self.requests]


@contextlib.contextmanager
def serve(*answers: Answer) -> Iterator[Server]:
    """Run a server on a free port of loopback while the block runs."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with lock:
                number = len(server.requests)
                server.requests.append((self.command, self.path, self.headers["Range"]))
            with contextlib.suppress(ConnectionError):  # of a client that leaves, as where a file is too large
                server.answers[min(number, len(server.answers) - 1)](self)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = Server(f"http://127.0.0.1:{http.server_port}", list(answers))
        http.ended = server.ended  # type: ignore[attr-defined]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            http.shutdown()
            thread.join()


def file(
    content: bytes, *, ranges: bool = True, cut: int | None = None, length: bool = True, slow: float = 0
) -> Answer:
    """Answer with a file. ranges: whether a Range header is obeyed. cut: break off after that many bytes.

    length: state the length. slow: seconds to wait in the middle.
    """

    def answer(request: BaseHTTPRequestHandler) -> None:
        found = re.fullmatch(r"bytes=(\d+)-", request.headers["Range"] or "") if ranges else None
        start = int(found[1]) if found else 0
        if found and start >= len(content):
            request.send_response(416)
            request.end_headers()
            return
        body = content[start:]
        request.send_response(206 if found else 200)
        if found:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if length:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "HEAD":
            return
        body = body[:cut]
        middle = len(body) // 2
        request.wfile.write(body[:middle])
        request.wfile.flush()
        request.server.ended.wait(slow)  # type: ignore[attr-defined]
        request.wfile.write(body[middle:])

    return answer


def status(code: int, headers: dict[str, str] | None = None) -> Answer:
    """Answer with a status and no content."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.end_headers()

    return answer


def hang(request: BaseHTTPRequestHandler) -> None:
    """Answer nothing until the test ends."""
    request.server.ended.wait(60)  # type: ignore[attr-defined]
    request.close_connection = True


def trickle(request: BaseHTTPRequestHandler) -> None:
    """Answer with a byte at a time, each soon enough, for ever."""
    request.send_response(200)
    request.send_header("Content-Length", "1000000")
    request.end_headers()
    while not request.server.ended.wait(0.02):  # type: ignore[attr-defined]
        try:
            request.wfile.write(b"x")
        except OSError:
            return
