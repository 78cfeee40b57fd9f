"""The server under load: a quick form of tools/serve_load.py."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))  # as for a script in that folder

import serve_load
from paa.predictor import load


def test_good_bad_oversize_slow_vanishing_and_idle_clients_at_once(checkpoint: Path, tmp_path: Path) -> None:
    photos = serve_load.expected_of(load(checkpoint, "cpu"))
    server, port = serve_load.start(checkpoint, tmp_path / "log.txt")
    try:
        figures, wrong = serve_load.put_under_load(server, port, photos, seconds=7, seed=0)
    finally:
        server.kill()
    assert wrong == []
    assert (tmp_path / "log.txt").read_text() == ""
    kinds = {answer.split()[0] for answer in figures["answers"]}
    assert kinds == set(serve_load.CLIENTS)
    assert figures["open_files"]["after"] < figures["open_files"]["peak"]
