"""The endpoint answers as `PAA.predict` does, and refuses with a status code and one line what it cannot answer."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.datastructures import UploadFile

from paa.data.images.decoders import MAX_PIXELS_VARIABLE
from paa.detections import Detections
from paa.predictor import PAA, load
from paa.serve.api import make_app
from paa.serve.service import Service
from tests.data.images.test_hostile import bomb
from tests.serve.clients import Gate, client_of, client_with, upload
from tests.weights.servers import file, hang, status, trickle
from tests.weights.servers import serve as serve_files


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with client_of(service) as client:
        yield client


def assert_same(answer: dict[str, Any], found: Detections) -> None:
    got = answer["detections"]
    assert len(got) == len(found)
    assert [each["label"] for each in got] == found.labels.tolist()
    assert [each["name"] for each in got] == [found.names[label] for label in found.labels]
    np.testing.assert_allclose([each["score"] for each in got], found.scores, atol=1e-4)
    np.testing.assert_allclose(np.reshape([each["box"] for each in got], (-1, 4)), found.boxes, atol=0.01)


def reason(answer: Any) -> tuple[int, str]:
    """Return the status of a refusal, and its one line."""
    problem = answer.json()
    assert list(problem) == ["detail"]
    assert isinstance(problem["detail"], str)
    assert "\n" not in problem["detail"]
    return answer.status_code, problem["detail"]


def test_an_image_is_answered_as_predict_does(client: TestClient, model: PAA, photos: list[Path]) -> None:
    answer = upload(client, photos[:1], threshold=0).json()
    (image,) = answer["images"]
    with Image.open(photos[0]) as opened:
        assert (image["file"], image["width"], image["height"]) == (photos[0].name, *opened.size)
    found = model.predict(photos[0])
    assert len(found) > 10
    assert_same(image, found)


def test_a_threshold_below_that_of_candidates_is_refused(client: TestClient, photos: list[Path]) -> None:
    """The network has left out what it would show; 0 asks for all that is found."""
    code, detail = reason(upload(client, photos[:1], threshold=0.02))
    assert (code, detail) == (422, "threshold: 0, or from 0.05 on; lower ones are had with paa serve --threshold")
    assert upload(client, photos[:1], threshold=0.05).status_code == 200


def test_several_images_come_in_their_order(client: TestClient, model: PAA, photos: list[Path]) -> None:
    given = [photos[i] for i in (3, 0, 2, 1)]
    images = upload(client, given, threshold=0.3).json()["images"]
    assert [image["file"] for image in images] == [path.name for path in given]
    for image, path in zip(images, given):
        assert_same(image, model.predict(path, threshold=0.3))


def test_clients_at_the_same_time_get_their_own_answers(service: Service, model: PAA, photos: list[Path]) -> None:
    expected = {path: model.predict(path, threshold=0.2) for path in photos}
    assert len({repr(found.scores) for found in expected.values()}) == len(photos)
    asked = photos * 4
    with client_of(service) as client, ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda path: upload(client, [path], threshold=0.2).json(), asked))
        counted = client.get("/metrics").text
    for answer, path in zip(answers, asked):
        assert_same(answer["images"][0], expected[path])
    (batches,) = re.findall(r"^paa_batch_images_count (.*)", counted, flags=re.M)
    assert float(batches) < len(asked)  # some shared one


def test_options(client: TestClient, model: PAA, photos: list[Path]) -> None:
    path = photos[0]
    assert_same(upload(client, [path], threshold=0.4).json()["images"][0], model.predict(path, threshold=0.4))
    plain = model.predict(path, threshold=0.2, voting=False)
    assert not np.array_equal(plain.boxes, model.predict(path, threshold=0.2).boxes)
    assert_same(upload(client, [path], threshold=0.2, voting="false").json()["images"][0], plain)
    two = {"star", "circle"}
    found = model.predict(path)
    chosen = found[[name in two for _, _, name in found]]
    assert 0 < len(chosen) < len(found)
    assert_same(upload(client, [path], threshold=0, classes=sorted(two)).json()["images"][0], chosen)


def test_the_server_s_settings_are_the_defaults(checkpoint: Path, photos: list[Path]) -> None:
    model = load(checkpoint, "cpu")
    expected = model.predict(photos[0], threshold=0.65, limit=7, nms_iou=0.4, voting=False)
    model.inference = type(model.inference)(threshold=0.65, max_detections=7, nms_iou=0.4, voting=False)
    with client_with(model) as client:
        assert_same(upload(client, photos[:1]).json()["images"][0], expected)
        lower = upload(client, photos[:1], threshold=0.05).json()["images"][0]["detections"]
        assert len(lower) == 7 > len(expected)  # the network gives all; a threshold only chooses


def test_an_exported_model(exported: Path, photos: list[Path]) -> None:
    model = load(exported, "cpu")
    with client_with(model) as client:
        for path in photos[:2]:
            assert_same(upload(client, [path], threshold=0.1).json()["images"][0], model.predict(path, threshold=0.1))
        assert upload(client, photos[:1], voting="true").status_code == 200
        assert reason(upload(client, photos[:1], voting="false")) == (
            422,
            "voting: is true in this exported model, and stays so",
        )


def test_a_low_threshold_of_the_server_hides_nothing(checkpoint: Path, photos: list[Path]) -> None:
    model = load(checkpoint, "cpu")
    expected = model.predict(photos[0], threshold=0.02)
    model.inference = type(model.inference)(threshold=0.02)
    with client_with(model) as client:
        assert_same(upload(client, photos[:1]).json()["images"][0], expected)
    assert len(expected) > len(load(checkpoint, "cpu").predict(photos[0], threshold=0.05))


def test_what_the_server_says_of_itself(client: TestClient, model: PAA) -> None:
    import paa

    assert client.get("/health").json() == {
        "status": "ready",
        "model": "model.pt",
        "classes": list(model.names),
        "device": "cpu",
        "version": paa.__version__,
    }
    for path in ("/health", "/metrics"):
        assert client.head(path).status_code == 200
    described = client.get("/openapi.json").json()
    assert {"/predict", "/health", "/metrics"} == set(described["paths"])
    assert described["info"]["version"] == paa.__version__
    for path in ("/docs", "/redoc"):  # FastAPI's pages, which ask other servers for their scripts
        assert client.get(path).status_code == 404


def test_a_server_that_closes_is_not_ready(service: Service, photos: list[Path]) -> None:
    with client_of(service) as client:
        service.close()
        answer = client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "closing")
        assert reason(upload(client, photos[:1])) == (503, "the server is closing")


def test_metrics(client: TestClient, photos: list[Path]) -> None:
    upload(client, photos[:3])
    upload(client, photos[:1], threshold=2)
    client.get("/predict")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = dict(re.findall(r"^(paa_\S+) (\S+)$", answer.text, flags=re.M))
    assert lines['paa_requests_total{status="200"}'] == "1.0"
    assert lines['paa_requests_total{status="422"}'] == "1.0"
    assert lines['paa_requests_total{status="405"}'] == "1.0"
    assert lines["paa_images_total"] == lines["paa_batch_images_sum"] == "3.0"
    assert float(lines["paa_inference_seconds_sum"]) > 0
    assert lines["paa_inference_seconds_count"] == lines["paa_batch_images_count"]
    assert lines["paa_queue_images"] == "0.0"


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({"threshold": 1.5}, "threshold: Input should be less than or equal to 1"),
        ({"threshold": "nan"}, "threshold: Input should be "),
        ({"threshold": "high"}, "threshold: Input should be a valid number"),
        ({"voting": "perhaps"}, "voting: Input should be a valid boolean"),
        ({"classes": "cat"}, "classes: the model has no class 'cat'; /health lists its classes"),
        ({"threshold": [0.2, 0.9]}, "threshold: given more than once"),
        ({"voting": ["true", "false"]}, "voting: given more than once"),
        ({"treshold": 0.5}, "treshold: unknown option; known: threshold, classes, voting"),
    ],
)
def test_options_that_cannot_be(client: TestClient, photos: list[Path], query: dict[str, Any], detail: str) -> None:
    status, said = reason(upload(client, photos[:1], **query))
    assert status == 422
    assert said.startswith(detail)


def test_what_is_no_image(client: TestClient, tmp_path: Path, photos: list[Path]) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not an image")
    assert reason(upload(client, [photos[0], text])) == (415, "notes.txt: a text, not an image")
    assert reason(client.post("/predict")) == (
        415,
        "send image files as multipart/form-data, as curl -F images=@photo.jpg does",
    )
    raw = client.post("/predict", content=photos[0].read_bytes(), headers={"Content-Type": "image/jpeg"})
    assert reason(raw)[0] == 415
    form = {"headers": {"Content-Type": "multipart/form-data; boundary=x"}}
    empty = client.post("/predict", content=b"--x--\r\n", **form)
    assert reason(empty) == (400, "no image file in the form: send some as curl -F images=@photo.jpg does")
    assert reason(client.post("/predict", data={"images": "a.jpg"}, files={}, **form))[0] == 400
    assert reason(client.post("/predict", content=b"nonsense", **form))[0] == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "["}, 421),
        ({"Host": "[x"}, 421),
        ({"Origin": "http://["}, 403),
        ({"Content-Type": "multipart/form-data; boundary=x; charset=a\0b"}, 400),
        ({"Content-Type": "multipart/form-data; boundary=x; charset=zzz"}, 400),
    ],
    ids=str,
)
def test_malformed_headers(service: Service, headers: dict[str, str], status: int) -> None:
    """Found by fuzzing; called below the client's library, which does not send all of them."""
    app, sent = make_app(service, hosts=["localhost"]), []
    given = {"Host": "localhost", "Content-Type": "multipart/form-data; boundary=x", **headers}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"--x--\r\n", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
    }
    anyio.run(app, scope, receive, send)
    assert sent[0]["status"] == status
    assert "\n" not in json.loads(sent[1]["body"])["detail"]


def test_reasons_are_one_line_whatever_names_are_sent(client: TestClient, photos: list[Path]) -> None:
    """Found by fuzzing: names of options, classes and files that have line ends."""
    for query in ({"two\nlines": "1"}, {"classes": "a\nb"}):
        assert reason(upload(client, photos[:1], **query))[0] == 422
    answer = client.post("/predict", files={"images": ("a\u2028b.png", b"text")})
    status, said = reason(answer)
    assert (status, len(said.splitlines())) == (415, 1)


def test_a_name_that_utf_8_cannot_hold(client: TestClient, photos: list[Path]) -> None:
    """Found by reading: UTF-7 can, by half a pair of UTF-16."""
    head = b'--B\r\nContent-Disposition: form-data; name="images"; filename="+2AA-"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; charset=utf-7; boundary=B"}
    answer = client.post("/predict", content=head + photos[0].read_bytes() + b"\r\n--B--\r\n", headers=kind)
    assert answer.status_code == 200
    assert answer.json()["images"][0]["file"] == "\\ud800"


def test_wrong_methods_and_addresses(client: TestClient) -> None:
    answer = client.get("/predict")
    assert reason(answer) == (405, "Method Not Allowed")
    assert answer.headers["allow"] == "POST"
    assert reason(client.post("/health"))[0] == 405
    assert reason(client.get("/nothing"))[0] == 404


def test_too_many_pixels(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "10000")
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(30_000, 30_000))
    status, said = reason(upload(client, [path]))
    assert status == 413
    assert said.startswith("bomb.png: has 900,000,000 pixels (30000 x 30000), more than the limit of 10,000")


def test_too_large_a_body(model: PAA, photos: list[Path]) -> None:
    limit = "the request is larger than 102.4 kB, the limit (--max-body)"
    with client_with(model, max_body=0.1) as client:
        assert upload(client, photos[:1]).status_code == 200
        large = io.BytesIO(bytes(200_000))
        assert reason(client.post("/predict", files={"images": ("a.png", large)})) == (413, limit)
        said_less = {"Content-Length": "", "Content-Type": "multipart/form-data; boundary=x"}
        start = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'
        given: list[int] = []

        def pieces() -> Iterator[bytes]:
            """Send without saying how much."""
            yield start
            for i in range(40):
                given.append(i)
                yield bytes(10_000)
            yield b"\r\n--x--\r\n"

        assert reason(client.post("/predict", content=pieces(), headers=said_less)) == (413, limit)


def test_a_query_that_is_no_text(model: PAA) -> None:
    """Found by fuzzing: with a slash at the end the address would be redirected, with its query."""

    def raw(app: Any) -> Any:
        """Put the byte into the query, which the client would write as %FF."""

        async def call(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "query_string": b"a=\xff"}, receive, send)

        return call

    with client_with(model) as client:
        app = client.app
        client.app = client._transport.app = raw(app)  # type: ignore[attr-defined]
        for path in ("/predict/", "/health/", "/health"):
            assert reason(client.get(path)) == (400, "the query of the address is not UTF-8 text")


def test_too_many_images(model: PAA, photos: list[Path]) -> None:
    with client_with(model, max_images=2) as client:
        assert upload(client, photos[:2]).status_code == 200
        assert reason(upload(client, photos[:3])) == (400, "Too many files. Maximum number of files is 2.")


def test_a_full_queue_and_a_long_wait(model: PAA, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    answers: list[Any] = []
    with client_with(model, queue=2, max_images=2, timeout=3.0) as client:
        first = threading.Thread(target=lambda: answers.append(upload(client, photos[:1])))
        first.start()
        assert gate.busy.wait(20)
        second = threading.Thread(target=lambda: answers.append(upload(client, photos[:1])))
        second.start()
        while "paa_queue_images 1.0" not in client.get("/metrics").text:
            pass
        busy = upload(client, photos[:2])
        assert reason(busy) == (503, "too many images wait already: try again later")
        assert busy.headers["retry-after"] == "1"
        first.join(20)
        second.join(20)
        assert [reason(answer) for answer in answers] == [(504, "waited 3 seconds for the network (--timeout)")] * 2
        gate.open.set()
        assert upload(client, photos[:1]).status_code == 200


def test_a_request_waits_a_moment_for_its_place(
    model: PAA, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    with client_with(model, queue=1, max_images=1) as client, ThreadPoolExecutor(2) as threads:
        first = threads.submit(upload, client, photos[:1])
        assert gate.busy.wait(20)
        second = threads.submit(upload, client, photos[:1])
        threading.Timer(0.3, gate.open.set).start()
        assert [first.result(20).status_code, second.result(20).status_code] == [200, 200]


def test_images_beyond_the_queue_are_refused_all_together(
    model: PAA, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    with client_with(model, queue=3, max_images=3, max_batch=1) as client, ThreadPoolExecutor(2) as threads:
        first = threads.submit(upload, client, photos[:3])
        assert gate.busy.wait(20)  # with one image, and two wait
        assert reason(upload(client, photos[:2])) == (503, "too many images wait already: try again later")
        second = threads.submit(upload, client, photos[:1])
        gate.open.set()
        assert [first.result(20).status_code, second.result(20).status_code] == [200, 200]


def test_a_network_that_fails(model: PAA, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> Any:
        raise RuntimeError("no more memory")

    with client_with(model) as client:
        with monkeypatch.context() as patch:
            patch.setattr("paa.serve.service.detect_prepared", fail)
            assert reason(upload(client, photos[:1])) == (500, "internal error: the server's log has more")
        assert upload(client, photos[:1]).status_code == 200
        assert 'paa_requests_total{status="500"} 1.0' in client.get("/metrics").text


def test_urls_are_fetched_only_where_that_is_allowed(model: PAA, photos: list[Path]) -> None:
    def answer(handler: Any) -> None:
        data = photos[int(handler.path[1:])].read_bytes()
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(data)

    with serve_files(answer) as server:
        urls = [f"{server.url}/{i}" for i in (1, 0)]
        with client_with(model) as client:
            assert reason(client.post("/predict", json=urls)) == (
                403,
                "this server fetches no URLs: send image files as multipart/form-data (--allow-urls)",
            )
            assert server.requests == []
        with client_with(model, options={"allow_urls": True}, max_images=2, max_body=0.03) as client:
            images = client.post("/predict", json=urls, params={"threshold": 0.2}).json()["images"]
            assert [image["file"] for image in images] == urls
            for image, i in zip(images, (1, 0)):
                assert_same(image, model.predict(photos[i], threshold=0.2))
            assert reason(client.post("/predict", json=urls[:1] * 3))[0] == 400
            for body in ("{}", "[]", "[1]", "nonsense", "[" * 100_000):
                headers = {"Content-Type": "application/json"}
                assert reason(client.post("/predict", content=body, headers=headers))[0] in (400, 413), body
            file = [photos[0].as_uri()]
            assert reason(client.post("/predict", json=file)) == (400, f"{file[0]}: not an http or https URL")


def test_urls_that_cannot_be_fetched(model: PAA) -> None:
    data = bytes(30_000)
    with client_with(model, options={"allow_urls": True}, max_body=0.05) as client:
        for answers, code, says in (
            ([file(data * 2)], 413, "58.6 kB, more than 51.2 kB; "),
            ([file(data * 2, length=False)], 413, "more than 51.2 kB; "),
            ([file(data), file(data)], 413, "29.3 kB, more than 21.9 kB; "),
            ([status(404)], 400, "HTTP 404 Not Found"),
            (
                [status(302, {"Location": "file:///etc/hostname"})],
                400,
                "redirects to 'file:///etc/hostname', which is ",
            ),
            ([status(302, {"Location": "/again"})], 400, "more than 5 redirects"),
            ([file(data, cut=50)], 400, "the connection broke after 50 of 30000 bytes"),
        ):
            with serve_files(*answers) as server:
                urls = [f"{server.url}/{i}" for i in range(len(answers))]
                got, said = reason(client.post("/predict", json=urls))
                assert (got, said.startswith(f"{urls[-1]}: {says}")) == (code, True), said
                if code == 413:
                    assert said.endswith("; the images of a request may have 51.2 kB together (--max-body)")


@pytest.mark.parametrize("answer", [hang, trickle])
def test_a_url_that_takes_too_long(model: PAA, answer: Any) -> None:
    started = time.monotonic()
    with (
        serve_files(answer) as server,
        client_with(model, options={"allow_urls": True}, timeout=0.5) as client,
    ):
        code, said = reason(client.post("/predict", json=[server.url]))
        assert time.monotonic() - started < 10
    assert (code, said) == (408, "the images did not arrive within 0.5 seconds (--timeout)")


def test_pages_of_other_sites_are_refused(service: Service, photos: list[Path]) -> None:
    with client_of(service, hosts={"127.0.0.1", "::1"}) as client:
        files = {"images": photos[0].read_bytes()}

        def status(path: str = "/predict", **headers: str) -> int:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            if path == "/predict":
                return int(client.post(path, files=files, headers=given).status_code)
            return int(client.get(path, headers=given).status_code)

        assert status() == status(sec_fetch_site="same-origin") == status(origin="http://127.0.0.1") == 200
        for site in ("cross-site", "same-site"):
            assert status(sec_fetch_site=site, origin="http://127.0.0.1") == 403
            assert status("/health", sec_fetch_site=site) == 200  # a link may lead here; the page reads nothing
        assert status(origin="http://evil.example") == status(origin="null") == 403
        assert status(origin="http://127.0.0.1:3000") == 403
        assert status(host="[::1]:8000") == 200
        assert status("/health", host="evil.example") == status(host="evil.example") == 421
        answer = client.get("/health", headers={"Origin": "http://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_hosts_may_have_a_port_or_brackets(service: Service) -> None:
    with client_of(service, hosts={"127.0.0.1:8000", "[::1]", "PAA.example"}) as client:
        for host, expected in (("127.0.0.1", 200), ("[::1]:80", 200), ("paa.example:1", 200), ("other.example", 421)):
            assert client.get("/health", headers={"Host": host}).status_code == expected


def test_a_disk_without_room_for_what_is_sent(
    client: TestClient, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: UploadFile, *given: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(UploadFile, "write", full)
    said = "the server has no room for the images: No space left on device"
    assert reason(upload(client, photos[:1])) == (507, said)
