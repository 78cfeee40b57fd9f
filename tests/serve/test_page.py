"""The page in a real browser: dropped images, the slider, downloads; nothing is asked of any other server."""

from __future__ import annotations

import io
import json
import signal
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from paa.predictor import PAA
from paa.serve.api import make_app
from paa.serve.service import Service
from tests.browser import chromium, console_lines, requests
from tests.serve.clients import LOCAL
from tests.serve.servers import Served, served
from tests.serve.test_api import assert_same
from tests.serve.test_server import metric

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@pytest.fixture(scope="module")
def server(checkpoint: Path) -> Iterator[Served]:
    with served(checkpoint, "--threshold", "0.5") as process:
        yield process


def wait_for(chrome: Chrome, script: str) -> Any:
    """Return what a script returns, once that is something."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(chrome, 60).until(lambda chrome: chrome.execute_script(script))


SHOWN = """
    const image = document.querySelector('#gallery button.media-button img, #gallery .preview img');
    return image && image.complete && image.naturalWidth ? image.src : null;
"""


def shown(chrome: Chrome, but: str = "") -> str:
    """Return the address of the large image, once it is loaded and is not `but`."""
    return str(wait_for(chrome, f"const now = (() => {{ {SHOWN} }})(); return now === {json.dumps(but)} ? null : now"))


def load(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return bytes(answer.read())


def set_threshold(chrome: Chrome, value: float) -> None:
    """Move the slider itself, as a pointer does."""
    chrome.execute_script(
        """
        const slider = document.querySelector('#threshold input[type=range]');
        slider.value = arguments[0];
        slider.dispatchEvent(new Event('input', {bubbles: true}));
        slider.dispatchEvent(new Event('change', {bubbles: true}));
        slider.dispatchEvent(new PointerEvent('pointerup', {bubbles: true}));
        """,
        value,
    )


def links(chrome: Chrome) -> tuple[str, str]:
    found = wait_for(
        chrome,
        "const a = [...document.querySelectorAll('#links a')]; return a.length && a.map(e => e.href)",
    )
    return found[0], found[1]


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (390, True)])
def test_images_are_dropped_and_the_slider_moved(
    server: Served, model: PAA, photos: list[Path], width: int, dark: bool
) -> None:
    with chromium(width=width, dark=dark) as chrome:
        chrome.get(server.address)
        wait_for(chrome, "return document.querySelector('#files input[type=file]') && 1")
        assert chrome.title == "model.pt - PAA"
        field = chrome.find_element("css selector", "#files input[type=file]")
        field.send_keys("\n".join(str(path) for path in photos[:2]))
        first = shown(chrome)
        as_json, drawings = links(chrome)
        for image, path in zip(json.loads(load(as_json))["images"], photos):
            assert image["file"] == path.name
            assert_same(image, model.predict(path, threshold=0.5))
        with Image.open(io.BytesIO(load(first))) as drawing, Image.open(photos[0]) as original:
            assert drawing.size == original.size
            before = np.asarray(drawing.convert("RGB")).astype(int)
            assert np.abs(before - np.asarray(original.convert("RGB"))).max() > 60  # boxes are drawn

        images = metric(server.address, "paa_images_total")
        set_threshold(chrome, 0.1)
        second = shown(chrome, but=first)
        for image, path in zip(json.loads(load(as_json))["images"], photos):
            assert_same(image, model.predict(path, threshold=0.1))
        with Image.open(io.BytesIO(load(second))) as drawing:
            assert np.abs(np.asarray(drawing.convert("RGB")) - before).max() > 60  # other boxes
        assert metric(server.address, "paa_images_total") == images  # the network did not run again

        chrome.find_element("css selector", "#voting input").click()
        third = shown(chrome, but=second)
        assert metric(server.address, "paa_images_total") == images + 2
        chrome.find_element("css selector", "#classes input").click()  # the first class alone
        shown(chrome, but=third)
        for image, path in zip(json.loads(load(as_json))["images"], photos):
            found = model.predict(path, threshold=0.1, voting=False)
            assert_same(image, found[found.labels == 0])
        with zipfile.ZipFile(io.BytesIO(load(drawings))) as archive:
            assert archive.namelist() == [f"{path.stem}_detections.jpg" for path in photos[:2]]

        page = "document.documentElement"
        assert chrome.execute_script(f"return {page}.scrollWidth <= {page}.clientWidth")
        errors = [line["message"] for line in console_lines(chrome) if line["level"] == "SEVERE"]
        assert errors == []
        asked = requests(chrome)
        assert len(asked) > 20
        assert {url for url in asked if not url.startswith((f"{server.address}/", "blob:"))} == set()


def test_a_file_that_is_no_image_is_named_on_the_page(server: Served, tmp_path: Path, photos: list[Path]) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("not an image")
    with chromium() as chrome:
        chrome.get(server.address)
        wait_for(chrome, "return document.querySelector('#files input[type=file]') && 1")
        chrome.find_element("css selector", "#files input[type=file]").send_keys(str(bad))
        wait_for(chrome, "return document.body.innerText.includes('bad.png: a text, not an image')")


def test_an_open_page_does_not_hold_up_the_end(checkpoint: Path, photos: list[Path]) -> None:
    with served(checkpoint) as server, chromium() as chrome:
        chrome.get(server.address)
        wait_for(chrome, "return document.querySelector('#files input[type=file]') && 1")
        chrome.find_element("css selector", "#files input[type=file]").send_keys(str(photos[0]))
        shown(chrome)
        start = time.monotonic()
        said = server.end(signal.SIGTERM)
        assert time.monotonic() - start < 20  # not the 30 seconds that requests in progress may take
        assert said.endswith("ended\n")
        assert server.returncode == 0


@pytest.fixture
def client(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    from paa.serve.page import add_page

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    app = make_app(service)
    add_page(app, service)
    with TestClient(app, LOCAL) as client:
        yield client


def test_the_endpoint_is_the_same_beside_the_page(client: TestClient) -> None:
    assert client.get("/predict").status_code == 405
    assert client.get("/health").status_code == 200
    assert set(client.get("/openapi.json").json()["paths"]) == {"/predict", "/health", "/metrics"}
    assert client.get("/", follow_redirects=False).headers["location"] == "page/"


def test_what_the_page_does_not_need_of_gradio_is_not_there(client: TestClient) -> None:
    page = client.get("/page/")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    config = client.get("/page/config").json()
    assert config["analytics_enabled"] is False
    for path in (
        "monitoring",
        "gradio_api/vibe-code",
        "gradio_api/proxy=https://x.hf.space/",
        "login",
        "gradio_api/runs",
    ):
        assert client.get(f"/page/{path}").status_code == 404, path
        assert client.post(f"/page/{path}").status_code == 404, path
    assert client.get("/page/gradio_api/file=https://example.org/a.jpg").status_code == 404
    assert client.get("/page/gradio_api/file=/etc/passwd").status_code == 403
    assert client.get("/page/gradio_api/info").json() == {"named_endpoints": {}, "unnamed_endpoints": {}}


def test_results_of_nobody(client: TestClient) -> None:
    for file in ("detections.json", "drawings"):
        answer = client.get(f"/page/results/guessed/{file}")
        assert (answer.status_code, answer.json()) == (
            404,
            {"detail": "the images are no longer here: drop them again"},
        )


def test_the_page_fetches_no_urls(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradio import processing_utils

    asked: list[object] = []
    monkeypatch.setattr(processing_utils, "async_ssrf_protected_download", lambda *given, **_: asked.append(given))
    config = client.get("/page/config").json()
    (drop,) = [each for each in config["dependencies"] if len(each["outputs"]) == 4]
    file = {"path": "http://example.org/a.jpg", "meta": {"_type": "gradio.FileData"}}
    join = {"data": [[file], 0.3, True, []], "fn_index": drop["id"], "session_hash": "s", "event_data": None}
    assert client.post("/page/gradio_api/queue/join", json=join).status_code == 200
    with client.stream("GET", "/page/gradio_api/queue/data?session_hash=s") as answer:
        lines = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    (done,) = [line for line in lines if line["msg"] == "process_completed"]
    assert done["success"] is False
    assert asked == []
