"""What `push_to_hub` uploads, over HTTP, to a stand-in for the Hugging Face hub on this machine."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import paa
from paa.training.train import train
from tests.training.runs import CPU, Micro

constants = pytest.importorskip("huggingface_hub.constants")


class FakeHub(ThreadingHTTPServer):
    """Takes one repository: files in commits, and the checks of model cards that the hub makes before."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.cards: list[str] = []
        self.files: dict[str, bytes] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(self.path)
        answer: dict[str, Any] = {}
        if self.path == "/api/repos/create":
            answer = {"url": f"{self.server.address}/someone/shapes", "name": "someone/shapes", "id": "1"}
        elif self.path == "/api/validate-yaml":
            self.server.cards.append(json.loads(body)["content"])
            answer = {"errors": [], "warnings": []}
        elif "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            answer = {"files": files}
        elif "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.server.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            answer = {"success": True, "commitOid": "a" * 40, "commitUrl": f"{self.server.address}/someone/shapes"}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(404)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    server = FakeHub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    yield server
    server.shutdown()
    server.server_close()


def test_a_run_is_pushed_with_its_card(tmp_path: Path, micro: Micro, hub: FakeHub) -> None:
    run = train(micro(tmp_path / "run", validation={"batch_size": 2, "interval": 4}), CPU)
    model = paa.load(run.last, "cpu")
    model.push_to_hub("someone/shapes", token="hf_test")
    assert set(hub.files) == {"README.md", "config.json", "model.safetensors"}
    card = hub.files["README.md"].decode()
    assert set(hub.cards) == {card}  # which older versions of the package let the hub check twice
    assert "`model.safetensors` has the weights of `last.pt`" in card
    assert card.startswith((run.folder / "README.md").read_text().split("\n## Use")[0].rstrip())
    (tmp_path / "back.safetensors").write_bytes(hub.files["model.safetensors"])
    again = paa.load(tmp_path / "back.safetensors", "cpu")
    image = str(next((Path(micro(tmp_path).data.path) / "images").iterdir()))
    assert again.predict(image).to_dicts() == model.predict(image).to_dicts()
