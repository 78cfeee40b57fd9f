"""The process: its port, its end, and clients at the same time, one of which leaves."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from paa.commands.main import main
from paa.errors import RunError
from paa.predictor import PAA
from paa.serve.server import address_of, bind
from tests.serve.servers import served
from tests.serve.test_api import assert_same

PATIENT = ("--batch-wait", "600000", "--timeout", "600")
"""An image waits ten minutes for others to share its batch."""


def ask(address: str, path: Path, query: str = "threshold=0.2") -> dict[str, Any]:
    """Return the answer to a request with one file, through the standard library alone."""
    return json.loads(_open(address, path, query))["images"][0]


def ask_in_vain(address: str, path: Path) -> None:
    with pytest.raises(OSError):
        ask(address, path)


def _form(path: Path) -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="images"; filename="{path.name}"\r\n\r\n'
    return head.encode() + path.read_bytes() + b"\r\n--x--\r\n"


def _open(address: str, path: Path, query: str) -> bytes:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(f"{address}/predict?{query}", _form(path), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def metric(address: str, name: str) -> float:
    with urllib.request.urlopen(f"{address}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name} ")), 0.0)


def test_32_clients_are_answered_right(checkpoint: Path, model: PAA, photos: list[Path]) -> None:
    expected = [model.predict(path, threshold=0.2) for path in photos]
    with served(checkpoint, "--no-page") as server, ThreadPoolExecutor(32) as threads:
        ready = threading.Barrier(32)

        def client(number: int) -> list[dict[str, Any]]:
            ready.wait(60)
            return [ask(server.address, photos[(number + i) % len(photos)]) for i in range(3)]

        answers = list(threads.map(client, range(32)))
        assert metric(server.address, "paa_images_total") == 96
        batches = metric(server.address, "paa_batch_images_count")
    for number, client_answers in enumerate(answers):
        for i, answer in enumerate(client_answers):
            assert_same(answer, expected[(number + i) % len(photos)])
    assert batches < 60


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_requests_in_progress(
    checkpoint: Path, model: PAA, photos: list[Path], number: int
) -> None:
    with served(checkpoint, "--no-page", *PATIENT) as server:
        answers: list[Any] = []
        client = threading.Thread(target=lambda: answers.append(ask(server.address, photos[0])))
        client.start()
        until(lambda: metric(server.address, "paa_queue_images") == 1)
        said = server.end(number)
        client.join(60)
    assert_same(answers[0], model.predict(photos[0], threshold=0.2))
    assert server.returncode == 0
    assert [line.split(" ")[0].strip() for line in said.splitlines()] == ["serving", "ended"]


def test_a_client_that_leaves_makes_room(checkpoint: Path, photos: list[Path]) -> None:
    with served(checkpoint, "--no-page", "--queue", "1", "--max-images", "1", *PATIENT) as server:
        host, port = server.address.removeprefix("http://").split(":")
        body = _form(photos[0])
        head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        with socket.create_connection((host, int(port)), 20) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: metric(server.address, "paa_queue_images") == 1)
        until(lambda: metric(server.address, 'paa_requests_total{status="499"}') == 1)
        # the queue of one has room, and the batch of one that waited is not run
        second = threading.Thread(target=ask_in_vain, args=(server.address, photos[0]))
        second.start()
        until(lambda: metric(server.address, "paa_queue_images") == 1)
        assert metric(server.address, "paa_images_total") == 0
        server.kill()
        second.join(60)


def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds."""
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never became true")


def test_a_port_in_use_is_one_line(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            main(["serve", str(checkpoint), "--port", str(port)])
    assert ended.value.code == 2
    expected = f"paa: error: port {port} of 127.0.0.1 is in use: --port 0 takes a free one\n"
    assert capsys.readouterr().err == expected


def test_what_an_exported_model_cannot_do_is_said_at_the_start(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", str(exported), "--port", "0", "--no-voting"])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert "serving" not in printed.out
    assert printed.err.startswith(f"paa: error: {exported}: voting is True in the exported graph and cannot be False: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("127.0.0.1", 70_000, "--port 70000: a port is a number from 0 to 65535"),
        ("192.0.2.1", 0, "--host 192.0.2.1: "),
    ],
)
def test_what_cannot_be_listened_at(host: str, port: int, message: str) -> None:
    with pytest.raises(RunError, match=f"^{message}"):
        bind(host, port)


def test_addresses() -> None:
    with bind("127.0.0.1", 0) as listening:
        assert address_of(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}"
    with bind("0.0.0.0", 0) as listening:
        assert address_of(listening).startswith("http://127.0.0.1:")
    with bind("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:  # no answer waits for the client to confirm the part before
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    if socket.has_ipv6:
        with bind("::1", 0) as listening:
            assert address_of(listening).startswith("http://[::1]:")
