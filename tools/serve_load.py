"""Put a server under load: good, bad, oversize, slow, vanishing and idle clients at once, for minutes.

    python tools/serve_load.py [--minutes 10] [--checkpoint FILE] [--output FILE] [--seed 0]

`paa serve` runs as a process of its own on loopback, with small limits (5 s, 1 MB, a million pixels). Clients are
threads of this process. Good ones send one to three images and compare the answer with what `PAA.predict` finds; bad,
oversize and slow ones know the status codes that are right, and every refusal must give its reason in one line. Once a
second the server's memory and open files are read from its /metrics. It prints a line of JSON, and fails where an
answer is not as it must be, a good request has none, the server logs an error (a client's fault is none), or it ends
otherwise than by the signal at the end.

Without --checkpoint a small detector with random weights is served, which detects a lot.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from paa.config import ModelConfig
from paa.data.shapes import NAMES, draw_image
from paa.model.detector import Detector
from paa.predictor import PAA, load
from paa.training.run_folder import save_checkpoint
from paa.weights.formats import own

LIMITS = ("--timeout", "5", "--max-body", "1", "--max-pixels", "1000000", "--queue", "64")
SECONDS = 5  # --timeout
MOST_IDLE = 100  # connections at a time that are open without a request
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
CLIENTS = {"good": 8, "bad": 2, "oversize": 1, "slow": 4, "vanishing": 2, "idle": 1}


def part(data: bytes, name: str = "a.jpg") -> bytes:
    """Return a file as a part of a form."""
    head = f'--x\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n\r\n'
    return head.encode() + data + b"\r\n"


def form(*files: bytes) -> bytes:
    """Return a form with these files."""
    return b"".join(map(part, files)) + b"--x--\r\n"


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    """Return an image as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def random_detector(path: Path) -> Path:
    """Write the checkpoint of a small detector with random weights, and return its path."""
    torch.manual_seed(0)
    detector = Detector(ModelConfig("resnet18", channels=16, tower_depth=1, min_size=64, max_size=96), NAMES)
    torch.nn.init.normal_(detector.head.cls_logits.weight, std=0.3)
    torch.nn.init.normal_(detector.head.deltas.weight, std=0.05)
    torch.nn.init.constant_(detector.head.cls_logits.bias, -1)
    save_checkpoint(path, own.write(detector.config, detector.names, detector.state_dict()))
    return path


@dataclass
class Load:
    """The server's address, what is sent, and what came of it.

    photos: files, and what is found in each: boxes (N, 4), scores (N,). answers: how often each kind of client got
    which status, or what else happened. wrong: what must not have happened.
    """

    port: int
    photos: list[tuple[bytes, np.ndarray, np.ndarray]]
    end: float
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def request(self, body: Any, headers: dict[str, str] = FORM, path: str = "/predict?threshold=0.1", **options: Any):  # type: ignore[no-untyped-def]
        """Return the status and the content of an answer, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(options.pop("method", "POST"), path, body, headers, **options)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def expect(self, kind: str, what: str, status: int, *expected: int, content: bytes) -> None:
        """Count an answer, and note it where the status is another, or the reason is not one line."""
        self.answers[f"{kind} {status}"] += 1
        try:
            reason = json.loads(content)["detail"]
        except (ValueError, KeyError, TypeError):
            reason = ""
        if status not in expected or not reason or "\n" in reason:
            self.wrong.append(f"{kind}, {what}: {status} {content[:200]!r}")


def good(load: Load, rng: random.Random) -> None:
    """Send one to three images, and compare."""
    chosen = [rng.choice(load.photos) for _ in range(rng.randint(1, 3))]
    started = time.monotonic()
    status, content = load.request(form(*(photo for photo, _, _ in chosen)))
    load.latencies.append(time.monotonic() - started)
    load.answers[f"good {status}"] += 1
    if status != 200:
        load.wrong.append(f"good: {status} {content[:200]!r}")
        return
    for (_, boxes, scores), image in zip(chosen, json.loads(content)["images"], strict=True):
        found = image["detections"]
        if len(found) != len(scores):
            load.wrong.append(f"good: {len(found)} detections in place of {len(scores)}")
        elif not np.allclose([each["box"] for each in found], boxes, atol=0.02) or not np.allclose(
            [each["score"] for each in found], scores, atol=1e-4
        ):
            load.wrong.append("good: other detections")


def bad(load: Load, rng: random.Random) -> None:
    """Send something that is no request for a prediction, and look whether it is refused for the right reason."""
    photo = rng.choice(load.photos)[0]
    cut = photo[: rng.randrange(2, len(photo) // 2)]
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG") if rng.random() < 0.1 else b""
    cases: list[tuple[str, bytes, dict[str, str], str, str, int]] = [
        ("noise", form(rng.randbytes(2000)), FORM, "/predict", "POST", 415),
        ("a cut image", form(cut), FORM, "/predict", "POST", 415),
        ("another content type", photo, {"Content-Type": "image/jpeg"}, "/predict", "POST", 415),
        ("no image", b"--x--\r\n", FORM, "/predict", "POST", 400),
        ("no form", rng.randbytes(500), FORM, "/predict", "POST", 400),
        ("too many images", form(*[photo] * 17), FORM, "/predict", "POST", 400),
        ("a URL", b'["http://127.0.0.1/"]', {"Content-Type": "application/json"}, "/predict", "POST", 403),
        ("an unknown option", form(photo), FORM, "/predict?treshold=0", "POST", 422),
        ("an invalid option", form(photo), FORM, "/predict?threshold=x", "POST", 422),
        ("an unknown class", form(photo), FORM, "/predict?classes=unicorn", "POST", 422),
        ("another method", b"", {}, "/predict", "GET", 405),
        ("another path", b"", {}, "/" + "a" * rng.randrange(1, 3000), "GET", 404),
        ("another site", form(photo), {**FORM, "Sec-Fetch-Site": "cross-site"}, "/predict", "POST", 403),
        ("another host", form(photo), {**FORM, "Host": "example.org"}, "/predict", "POST", 421),
    ]
    if bomb:
        cases = [("too many pixels", form(bomb), FORM, "/predict", "POST", 413)]
    what, body, headers, path, method, expected = rng.choice(cases)
    status, content = load.request(body, headers, path, method=method)
    load.expect("bad", what, status, expected, content=content)


def oversize(load: Load, rng: random.Random) -> None:
    """Send more than 1 MB: said beforehand, or in pieces."""
    size = rng.randrange(1_100_000, 2_500_000)
    try:
        if rng.random() < 0.5:
            status, content = load.request(form(bytes(size)))
        else:
            pieces = [part(bytes(100_000)) for _ in range(size // 100_000 + 1)]
            status, content = load.request(
                pieces, encode_chunked=True, headers={**FORM, "Transfer-Encoding": "chunked"}
            )
    except (ConnectionResetError, BrokenPipeError):  # the answer came while this was still sending
        load.answers["oversize cut off"] += 1
        return
    load.expect("oversize", f"{size} bytes", status, 413, content=content)


def slow(load: Load, rng: random.Random) -> None:
    """Send a head, or a body, more slowly than the time allows: the head is cut off, the body answered by 408."""
    body = form(load.photos[0][0])
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n" % len(body)
    head += b"Content-Type: multipart/form-data; boundary=x\r\n"
    whole_head = rng.random() < 0.5
    with socket.create_connection(("127.0.0.1", load.port), timeout=60) as connection:
        connection.sendall(head + (b"\r\n" if whole_head else b""))
        pace, sent = 0.5, 0
        started = time.monotonic()
        while time.monotonic() < started + SECONDS + 3:
            try:
                connection.sendall(body[sent : sent + 1] if whole_head else b"x")
                sent += 1
                connection.settimeout(pace)
                answer = connection.recv(65536)
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                answer = b""
            took = time.monotonic() - started
            if took < SECONDS - 0.5:
                load.wrong.append(f"slow: ended after {took:.1f} s")
            if answer:
                connection.settimeout(10)
                while more := connection.recv(65536):  # the server closes the connection
                    answer += more
                status, content = int(answer.split()[1]), answer.split(b"\r\n\r\n", 1)[-1]
                load.expect("slow", "body" if whole_head else "head", status, 408, content=content)
            else:
                load.answers[f"slow {'body' if whole_head else 'head'} cut off"] += 1
            return
    load.wrong.append(f"slow: still open after {SECONDS + 3} s")


def vanishing(load: Load, rng: random.Random) -> None:
    """Go away while the request is sent, or before the answer comes; by half with a reset in place of an end."""
    body = form(rng.choice(load.photos)[0])
    head = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    message = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with socket.create_connection(("127.0.0.1", load.port), timeout=60) as connection:
        connection.sendall(message[: rng.randrange(1, len(message))] if rng.random() < 0.5 else message)
        if rng.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    load.answers["vanishing"] += 1
    time.sleep(rng.uniform(0, 0.05))


def idle(load: Load, rng: random.Random) -> None:
    """Open many connections without a request; the server must close each."""
    connections = [socket.create_connection(("127.0.0.1", load.port), timeout=60) for _ in range(MOST_IDLE)]
    until = time.monotonic() + SECONDS + 10
    for connection in connections:
        try:
            connection.settimeout(max(0.01, until - time.monotonic()))
            left = connection.recv(1)
        except TimeoutError:
            load.wrong.append(f"idle: still open after {SECONDS + 10} s")
        except ConnectionResetError:
            load.answers["idle closed"] += 1
        else:
            load.answers["idle closed" if not left else "idle answered"] += 1
        connection.close()


def client(load: Load, kind: Callable[[Load, random.Random], None], seed: str) -> None:
    """Be clients of a kind, one after another, until the end."""
    rng = random.Random(seed)
    while time.monotonic() < load.end:
        try:
            kind(load, rng)
        except Exception as error:
            load.wrong.append(f"{kind.__name__}: {type(error).__name__} {error}")
        if len(load.wrong) > 100:
            return


def metrics(port: int) -> dict[str, float]:
    """Return the server's own numbers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def start(checkpoint: Path, log: Path) -> tuple[subprocess.Popen[str], int]:
    """Return the server's process and port, once it answers. log: a file for what it says of errors."""
    command = [sys.executable, "-m", "paa", "serve", str(checkpoint), "--port", "0", "--device", "cpu", "--no-page"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("w") as errors:
        server = subprocess.Popen(
            [*command, *LIMITS], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
    assert server.stdout is not None
    line = server.stdout.readline()
    address = re.search(r":(\d+) \(", line)
    if address is None:
        raise SystemExit(f"the server did not start: {line}")
    return server, int(address[1])


def expected_of(model: PAA) -> list[tuple[bytes, np.ndarray, np.ndarray]]:
    """Return drawn images as files, of several formats and sizes, and what the model finds in each."""
    photos = []
    for seed, (kind, size) in enumerate(
        (("JPEG", (480, 640)), ("PNG", (64, 96)), ("WEBP", (300, 200)), ("BMP", (90, 90)))
    ):
        drawn = Image.fromarray(draw_image(np.random.default_rng(seed), size)[0]).resize(size[::-1])
        data = encoded(drawn, kind)
        with Image.open(io.BytesIO(data)) as image:
            found = model.predict(image, threshold=0.1)
        photos.append((data, found.boxes, found.scores))
    assert min(len(scores) for _, _, scores in photos) > 0
    return photos


def main() -> None:
    """Start the server, let the clients loose, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--output", type=Path, help="a file to add the line to")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = arguments.checkpoint or random_detector(Path(folder) / "random.pt")
        photos = expected_of(load(checkpoint, "cpu"))
        log = Path(folder) / "log.txt"
        server, port = start(checkpoint, log)
        try:
            line, wrong = put_under_load(server, port, photos, arguments.minutes * 60, arguments.seed)
        finally:
            server.kill()
        said = log.read_text().splitlines()
    line["log_lines"] = len(said)
    wrong += [f"the server's log: {each}" for each in said[:10]]
    print(json.dumps(line), flush=True)
    if arguments.output is not None:
        with arguments.output.open("a") as file:
            file.write(json.dumps(line) + "\n")
    if wrong:
        raise SystemExit("\n".join(wrong[:20]))


def put_under_load(
    server: subprocess.Popen[str],
    port: int,
    photos: list[tuple[bytes, np.ndarray, np.ndarray]],
    seconds: float,
    seed: int,
) -> tuple[dict[str, Any], list[str]]:
    """Return the figures, and what was not as it must be."""
    load = Load(port, photos, time.monotonic() + seconds)
    kinds = (good, bad, oversize, slow, vanishing, idle)
    threads = [
        threading.Thread(target=client, args=(load, kind, f"{seed} {kind.__name__} {number}"))
        for kind in kinds
        for number in range(CLIENTS[kind.__name__])
    ]
    for thread in threads:
        thread.start()
    samples = []
    while time.monotonic() < load.end and server.poll() is None:
        now = metrics(port)
        samples.append((now["process_resident_memory_bytes"] / 1e6, now["process_open_fds"]))
        time.sleep(1)
    for thread in threads:
        thread.join()
    time.sleep(SECONDS + 1)
    after = metrics(port)
    server.send_signal(signal.SIGTERM)
    code = server.wait(30)
    if code != 0:
        load.wrong.append(f"the server ended with {code}")
    early = samples[len(samples) // 10]  # when all kinds of clients have been there
    ordered = sorted(load.latencies)
    figures = {
        "minutes": round(seconds / 60, 2),
        "answers": dict(sorted(load.answers.items())),
        "wrong": len(load.wrong),
        "good_median_s": round(ordered[len(ordered) // 2], 3),
        "good_p99_s": round(ordered[int(len(ordered) * 0.99)], 3),
        "good_slowest_s": round(ordered[-1], 3),
        "memory_mb": {
            "after_a_tenth": round(early[0], 1),
            "end": round(samples[-1][0], 1),
            "peak": round(max(samples)[0], 1),
        },
        "open_files": {"peak": max(fds for _, fds in samples), "after": after["process_open_fds"]},
        "waiting_after": after["paa_queue_images"],
        "exit_code": code,
    }
    return figures, load.wrong


if __name__ == "__main__":
    main()
