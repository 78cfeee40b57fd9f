"""What does it bring `paa serve` to look at the images of several clients together, against one after another?

The small detector of benchmarks/export.py (EfficientNet-Lite0 with 64 channels, random weights, in float32, optimised),
behind HTTP on loopback: two servers in this process, one that takes up to 8 images of one shape together, as
`paa serve` does by default, and one with --max-batch 1. Clients are threads of this process; each sends its next image,
a JPEG of 640 x 480 that is resized to 341 x 256, as soon as it has the answer to the last. Servers take turns. Before
they are timed, their answers must be those of `PAA.predict`.

- `N clients`: the seconds of 64 requests altogether.
- `N clients, median latency` and `N clients, 99th percentile`: of a request, over all runs.

    python benchmarks/serve.py [--threads 2] [--repeats 5]
"""

from __future__ import annotations

import http.client
import io
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import uvicorn
from PIL import Image

from export import small, spread_logits
from paa.data.shapes import draw_image
from paa.predictor import PAA
from paa.serve.api import make_app
from paa.serve.limits import Limits
from paa.serve.server import bind
from paa.serve.service import Service
from timing import compare, parse_arguments

REQUESTS = 64
CLIENTS = (1, 8, 32)
HEADERS = {"Content-Type": "multipart/form-data; boundary=x"}
FORM = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n%b\r\n--x--\r\n'


@contextmanager
def serving(model: PAA, max_batch: int) -> Iterator[int]:
    """Yield the port of a server of the model, in a thread of this process."""
    service = Service(model, "small", Limits(max_batch=max_batch))
    with bind("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(make_app(service), log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        port = listening.getsockname()[1]
        while not server.started:
            time.sleep(0.01)
        yield port
        server.should_exit = True
        thread.join()
    service.close()


def client(port: int, bodies: list[bytes]) -> list[tuple[float, bytes]]:
    """Send requests one after another over one connection; return the seconds and the answer of each."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    answers = []
    for body in bodies:
        start = time.perf_counter()
        connection.request("POST", "/predict?threshold=0", body, HEADERS)
        answer = connection.getresponse()
        content = answer.read()
        answers.append((time.perf_counter() - start, content))
        assert answer.status == 200, answers[-1]
    connection.close()
    return answers


def load_of(port: int, clients: int, bodies: list[bytes], latencies: list[float]) -> Callable[[], object]:
    """Return the function in which so many clients send all bodies; it adds the seconds of each to `latencies`."""

    def run() -> None:
        with ThreadPoolExecutor(clients) as threads:
            for answers in threads.map(lambda i: client(port, bodies[i::clients]), range(clients)):
                latencies.extend(seconds for seconds, _ in answers)

    return run


def print_latencies(case: str, ours_s: float, peer_s: float) -> None:
    """Print the JSON line of a latency with batches, and without."""
    line = {"benchmark": "serve", "case": case, "ours_s": round(ours_s, 6), "peer": "one at a time"}
    print(json.dumps(line | {"peer_s": round(peer_s, 6), "ratio": round(ours_s / peer_s, 4)}), flush=True)


def check(model: PAA, port: int, files: list[bytes]) -> None:
    """Raise unless clients at the same time get what `PAA.predict` finds."""
    with ThreadPoolExecutor(len(files)) as threads:
        answers = list(threads.map(lambda file: client(port, [FORM % file])[0][1], files))
    for file, answer in zip(files, answers):
        with Image.open(io.BytesIO(file)) as image:
            expected = model.predict(image, threshold=0)
        found = json.loads(answer)["images"][0]["detections"]
        assert len(found) == len(expected) > 10
        np.testing.assert_allclose([each["score"] for each in found], expected.scores, atol=1e-4)


def main() -> None:
    """Check and time every number of clients."""
    arguments = parse_arguments(__doc__, repeats=5)
    model, _ = small()
    spread_logits(model)
    model.optimise("float32")
    files = []
    for seed in range(8):
        buffer = io.BytesIO()
        drawn = Image.fromarray(draw_image(np.random.default_rng(seed), (480, 640))[0])
        drawn.resize((640, 480)).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    bodies = [FORM % files[i % len(files)] for i in range(REQUESTS)]
    with serving(model, 8) as batches, serving(model, 1) as single:
        for port in (batches, single):
            check(model, port, files)
        for clients in CLIENTS:
            case = "1 client" if clients == 1 else f"{clients} clients"
            ours, peers = list[float](), list[float]()
            runs = load_of(batches, clients, bodies, ours), load_of(single, clients, bodies, peers)
            compare("serve", case, runs[0], "one at a time", runs[1], arguments, warm_up=1, items=REQUESTS)
            ours, peers = ours[REQUESTS:], peers[REQUESTS:]  # without the warm-up
            print_latencies(f"{case}, median latency", statistics.median(ours), statistics.median(peers))
            print_latencies(f"{case}, 99th percentile", float(np.quantile(ours, 0.99)), float(np.quantile(peers, 0.99)))


if __name__ == "__main__":
    main()
