"""Models by name: wherever a checkpoint's path can be given, a name can, and its file is fetched once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import paa
from paa.commands.main import main
from paa.errors import CheckpointError
from paa.weights import at_hand
from paa.weights.at_hand import best_start
from paa.weights.hosted import MODELS, SERVER, HostedModel, local_file, similar
from paa.weights.read import read_start
from paa.weights.state import Weights
from tests.processes import in_two_processes
from tests.weights.golden_states import assert_golden, golden_state
from tests.weights.servers import Server, file, serve, status

TINY = "mmdet/tiny"


@pytest.fixture
def tiny(cache: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Yield a mirror of one small model, which is called `TINY`."""
    content = checkpoint.read_bytes()
    monkeypatch.setitem(MODELS, TINY, HostedModel(f"sub/tiny-{hashlib.sha256(content).hexdigest()[:8]}.pth", 1.0))
    with serve(file(content)) as server:
        monkeypatch.setenv("PAA_WEIGHTS_MIRROR", f"{server.url}/mirror/")
        yield server


def error_of(name: str | Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        local_file(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_table() -> None:
    for name, model in MODELS.items():
        recipe = name.removeprefix("mmdet/")
        backbone, schedule = recipe.split("_", 1)
        stem = f"paa_{backbone}_fpn_{schedule}_coco"
        assert re.fullmatch(rf"{re.escape(stem)}/{re.escape(stem)}_[\d_]+-[0-9a-f]{{8}}\.pth", model.path)
        assert model.path.endswith(f"-{model.sha256_prefix}.pth")
        assert 40 < model.ap < 46
    assert len({model.sha256_prefix for model in MODELS.values()}) == len(MODELS) == 7


def test_addresses(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = HostedModel("sub/a-00000000.pth", 1.0)
    assert model.address == f"{SERVER}sub/a-00000000.pth"
    assert model.cached == cache / "a-00000000.pth"
    monkeypatch.setenv("PAA_WEIGHTS_MIRROR", "http://mirror.org/paa")
    assert model.address == "http://mirror.org/paa/sub/a-00000000.pth"
    monkeypatch.setenv("PAA_WEIGHTS_MIRROR", str(tmp_path))
    assert model.address == f"file://{tmp_path}/sub/a-00000000.pth"
    monkeypatch.setenv("PAA_WEIGHTS_MIRROR", "")
    assert model.address.startswith(SERVER)


def test_a_model_of_mmdetection_by_name(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"meta": {}, "state_dict": golden_state("mmdet")}, tmp_path / "golden.pth")
    content = (tmp_path / "golden.pth").read_bytes()
    path = f"golden/golden-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    monkeypatch.setitem(MODELS, "mmdet/r50_1x", HostedModel(path, 40.4))
    with serve(file(content, cut=2**24), file(content)) as server:
        monkeypatch.setenv("PAA_WEIGHTS_MIRROR", server.url)
        model = paa.load("mmdet/r50_1x", "cpu")
        assert server.requests == [("GET", f"/{path}", None), ("GET", f"/{path}", f"bytes={2**24}-")]
    assert model.provenance == {"file": Path(path).name, "format": "MMDetection"}
    found = model.predict(np.zeros((40, 60, 3), np.uint8), candidate_threshold=0.0, limit=5)
    assert len(found) == 5
    assert_golden(model, "mmdet")


def test_every_command_takes_a_name(
    tiny: Server, tmp_path: Path, shapes: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    image, device = str(shapes / "images" / "000003.jpg"), ("--device", "cpu")
    main(["predict", TINY, image, *device, "--output", str(tmp_path / "predictions")])
    main(["eval", TINY, "--data", str(shapes), *device, "--workers", "0"])
    main(["convert", TINY, str(tmp_path / "tiny.safetensors")])
    main(["train", "--init", TINY, "--data", str(shapes), *options, "--output", str(tmp_path / "run")])
    assert f"paa: the whole detector starts from {TINY}" in capsys.readouterr().err
    assert (tmp_path / "predictions" / "000003.jpg").is_file()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["init"] == TINY
    converted = paa.load(tmp_path / "tiny.safetensors", "cpu")
    assert converted.provenance["file"] == MODELS[TINY].cached.name
    assert converted.provenance["sha256"].startswith(MODELS[TINY].sha256_prefix)
    assert len(tiny.requests) == 1


def main_with(name: str, model: HostedModel, environment: dict[str, str], arguments: list[str]) -> None:
    """Run a command in a process of its own, where one more model has a name."""
    os.environ.update(environment)
    MODELS[name] = model
    main(arguments)


def test_the_processes_of_a_run_share_one_download(
    tiny: Server, tmp_path: Path, shapes: Path, options: list[str]
) -> None:
    environment = {name: os.environ[name] for name in ("PAA_WEIGHTS_MIRROR", "TORCH_HOME")}
    arguments = ["train", "--init", TINY, "--data", str(shapes), *options, "--output", str(tmp_path / "run")]
    ended = in_two_processes(tmp_path, main_with, TINY, MODELS[TINY], environment, arguments)
    assert [done.code for done in ended] == [0, 0], ended
    assert sum(done.stderr.count("fetching ") for done in ended) <= 1
    assert len(tiny.requests) == 1


def test_python_takes_a_name(tiny: Server) -> None:
    for given in (TINY, Path(TINY)):
        assert paa.load(given, "cpu").provenance["file"] == MODELS[TINY].cached.name
    assert paa.paa_resnet50_fpn(weights=TINY).model.config.channels == 16
    start = read_start(TINY, "resnet50")
    assert isinstance(start, Weights)
    assert start.source == TINY
    assert len(tiny.requests) == 1


def test_a_file_of_that_name_comes_first(tiny: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mmdet").mkdir()
    (tmp_path / TINY).write_text("hello")
    with pytest.raises(CheckpointError, match=r"^mmdet/tiny: a text, not a checkpoint$"):
        paa.load(TINY, "cpu")
    (tmp_path / "mmdet" / "r50_3x").write_text("hello")
    assert local_file("mmdet/r50_3x") == Path("mmdet/r50_3x")
    assert tiny.requests == []


def test_a_folder_as_mirror(tiny: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    monkeypatch.setenv("PAA_WEIGHTS_MIRROR", str(tmp_path / "my mirror"))
    (tmp_path / "my mirror" / "sub").mkdir(parents=True)
    shutil.copyfile(checkpoint, tmp_path / "my mirror" / MODELS[TINY].path)
    assert local_file(TINY).read_bytes() == checkpoint.read_bytes()
    assert tiny.requests == []


def test_a_proxy_is_used(tiny: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAA_WEIGHTS_MIRROR", "http://weights.invalid/base")
    monkeypatch.setenv("http_proxy", tiny.url)
    local_file(TINY)
    assert tiny.requests == [("GET", f"http://weights.invalid/base/{MODELS[TINY].path}", None)]


def test_an_error_names_the_address_the_file_and_the_mirror(tiny: Server) -> None:
    tiny.answers[:] = [status(404)]
    model = MODELS[TINY]
    assert error_of(TINY) == (
        f"mmdet/tiny: cannot be fetched from {tiny.url}/mirror/{model.path}: HTTP 404 Not Found. Put the file at "
        f"{model.cached} by hand, or name a mirror in PAA_WEIGHTS_MIRROR"
    )


def test_a_file_put_there_by_hand_needs_no_network(
    tiny: Server, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAA_WEIGHTS_MIRROR", "http://127.0.0.1:9")
    cached = MODELS[TINY].cached
    cached.parent.mkdir(parents=True)
    shutil.copyfile(checkpoint, cached)
    assert local_file(TINY) == cached


def test_a_run_on_a_gpu_starts_from_a_detector_at_hand_if_it_is_whole(
    tiny: Server, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fetched, also where the file in the cache is damaged."""
    monkeypatch.setattr(at_hand, "_ON_GPU", (TINY,))
    assert best_start(on_gpu=True) == "efficientnet_lite0"
    cached = MODELS[TINY].cached
    cached.parent.mkdir(parents=True)
    cached.write_bytes(checkpoint.read_bytes()[:-1])
    assert best_start(on_gpu=True) == "efficientnet_lite0"
    shutil.copyfile(checkpoint, cached)
    assert best_start(on_gpu=True) == TINY
    assert best_start(on_gpu=False) == "efficientnet_lite0"
    assert tiny.requests == []


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("mmdet/r50_3x", ["mmdet/r50_2x", "mmdet/r50_1x", "mmdet/r50_1.5x"]),
        ("mmdet/nothing", list(MODELS)),
        ("r50_1x", ["mmdet/r50_1x"]),
        ("mmdet_r50_1x", ["mmdet/r50_1x"]),
        ("best.pt", []),
        ("runs/r50_1x/best.pt", []),
        ("torchvision/resnet50", []),
        ("", []),
    ],
)
def test_similar_names(given: str, meant: list[str]) -> None:
    assert similar(given, MODELS) == meant


def test_a_name_that_is_unknown() -> None:
    says = "no such file, and no weights of that name; similar:"
    assert error_of(Path("mmdet/r50_3x")).startswith(f"mmdet/r50_3x: {says} mmdet/r50_2x")
    with pytest.raises(CheckpointError, match=f"efficientnet-lite0: {says} efficientnet_lite0"):
        read_start("efficientnet-lite0", "resnet50")
    with pytest.raises(CheckpointError, match=r"^gone\.pt: no such file$"):
        read_start("gone.pt", "resnet50")


def test_paa_weights_lists_what_there_is(
    tiny: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    main(["weights"])
    printed = capsys.readouterr().out
    for name, model in MODELS.items():
        assert re.search(rf"{re.escape(name)} +{model.ap:.1f} +- +not fetched yet", printed), name
    for name in ("efficientnet_lite0", "efficientnet_lite2", "torchvision/NAME", "timm/NAME"):
        assert name in printed
    assert tiny.requests == []

    main(["weights", TINY])
    assert capsys.readouterr().out == f"{TINY}: {MODELS[TINY].cached}\n"
    main(["weights"])
    assert re.search(rf"{TINY} .*[kM]B +{re.escape(str(MODELS[TINY].cached))}", capsys.readouterr().out)


def test_paa_weights_asks_for_sizes(
    tiny: Server, capsys: pytest.CaptureFixture[str], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["weights", "--sizes"])
    assert {method for method, _, _ in tiny.requests} == {"HEAD"}
    assert len(tiny.requests) == len(MODELS)
    assert capsys.readouterr().out.count("not fetched yet") == len(MODELS)
    tiny.requests.clear()
    tiny.answers[:] = [status(404)]
    main(["weights", "--sizes"])
    assert "HTTP 404 Not Found" in capsys.readouterr().err
    assert len(tiny.requests) == 1


def test_paa_weights_fetches_models_only(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["weights", "timm/x"])
    assert "timm/x: no model that can be fetched; known: mmdet/r50_1x, " in capsys.readouterr().err
