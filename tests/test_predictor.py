from __future__ import annotations

import dataclasses
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from PIL import Image

import paa
from paa import PAA, Detections
from paa.config import InferenceConfig
from paa.errors import CheckpointError, ConfigError, ImageError, RunError
from tests.parity import filled

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> PAA:
    return paa.load(checkpoint, "cpu")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray[Any, Any]:
    coarse = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((90, 64), Image.Resampling.BICUBIC))


def assert_same(a: Detections, b: Detections) -> None:
    assert len(a) == len(b) > 0
    np.testing.assert_array_equal(a.boxes, b.boxes)
    np.testing.assert_array_equal(a.scores, b.scores)
    np.testing.assert_array_equal(a.labels, b.labels)


def test_what_comes_back(model: PAA, pixels: np.ndarray[Any, Any]) -> None:
    found = model.predict(pixels)
    assert isinstance(found, Detections)
    count = len(found)
    assert 10 < count <= 100
    assert (found.boxes.shape, found.boxes.dtype) == ((count, 4), np.float32)
    assert (found.scores.shape, found.scores.dtype) == ((count,), np.float32)
    assert (found.labels.shape, found.labels.dtype) == ((count,), np.int64)
    assert found.names == ("circle", "square", "triangle", "star")
    assert set(found.labels.tolist()) <= {0, 1, 2, 3}
    assert (np.diff(found.scores) <= 0).all()
    assert (found.boxes[:, :2] < found.boxes[:, 2:]).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [90, 64, 90, 64]).all()


def test_every_form_of_an_image(model: PAA, pixels: np.ndarray[Any, Any], tmp_path: Path) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = model.predict(pixels)
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    opaque = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], axis=2)
    for source in (
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        Image.fromarray(pixels),
        Image.fromarray(opaque),
        opaque,
        pixels.astype(np.float32) / 255,
        pixels.astype(np.float64) / 255,
        tensor,
        tensor.float() / 255,
    ):
        assert_same(model.predict(source), expected)
    grey = pixels[:, :, 0]
    assert_same(model.predict(grey), model.predict(np.stack([grey] * 3, axis=2)))
    assert_same(model.predict(grey), model.predict(Image.fromarray(grey)))
    assert_same(model.predict(pixels[:, ::-1]), model.predict(np.ascontiguousarray(pixels[:, ::-1])))


def test_the_image_is_known_and_not_kept(model: PAA, pixels: np.ndarray[Any, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    drawn = model.predict(path).plot()
    assert np.array_equal(np.asarray(drawn), np.asarray(model.predict(pixels).plot(pixels)))
    for held in (pixels.copy(), Image.fromarray(pixels), torch.from_numpy(pixels.copy()).permute(2, 0, 1)):
        assert np.array_equal(np.asarray(model.predict(held).plot()), np.asarray(drawn))
    with pytest.raises(ImageError, match="not in memory"):
        model.predict(pixels.copy()).plot()


def test_lists(model: PAA, pixels: np.ndarray[Any, Any], tmp_path: Path) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    other = 255 - pixels
    singles = [model.predict(pixels), model.predict(other)]
    for sources in ([tmp_path / "a.png", other], (Image.fromarray(pixels), other)):
        found = model.predict(sources)
        assert isinstance(found, list)
        for a, b in zip(found, singles, strict=True):
            assert_same(a, b)
    assert model.predict([]) == []
    (alone,) = model.predict([pixels])
    assert_same(alone, singles[0])


def test_a_batch_gives_what_its_images_give_alone(model: PAA, pixels: np.ndarray[Any, Any]) -> None:
    """Of images of one size; padding, which group norm sees, is different for others."""
    images = [pixels, 255 - pixels, pixels[::-1]]
    for alone, together in zip([model.predict(p) for p in images], model.predict(images, batch_size=2), strict=True):
        assert len(alone) == len(together)
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-4)
        np.testing.assert_allclose(together.boxes, alone.boxes, atol=0.05)


def test_sizes_may_be_mixed(model: PAA, pixels: np.ndarray[Any, Any]) -> None:
    sizes = [(90, 64), (64, 90), (300, 20), (1, 1)]
    images = [Image.fromarray(pixels).resize(size) for size in sizes]
    for (width, height), found in zip(sizes, model.predict(images, batch_size=4), strict=True):
        assert (found.boxes <= np.array([width, height, width, height]) + 1e-3).all()


def test_boxes_are_in_the_pixels_of_the_original(model: PAA, pixels: np.ndarray[Any, Any]) -> None:
    once = model.predict(pixels)
    twice = model.predict(np.repeat(np.repeat(pixels, 2, axis=0), 2, axis=1))
    matched = 0
    for box, score, name in list(once)[:20]:
        same = [b for b, s, n in twice if n == name and abs(s - score) < 0.05 and np.abs(b - 2 * box).max() < 8]
        matched += bool(same)
    assert matched >= 15
    assert twice.boxes[:, 2].max() > 130


def test_threshold_limit_and_voting(model: PAA, pixels: np.ndarray[Any, Any]) -> None:
    assert len(model.predict(pixels, limit=3)) == 3
    assert len(model.predict(pixels, threshold=0.999)) == 0
    every = model.predict(pixels, limit=1000)
    fewer = model.predict(pixels, limit=1000, threshold=0.3)
    assert 0 < len(fewer) < len(every)
    plain = model.predict(pixels, voting=False)
    assert not np.array_equal(plain.boxes, model.predict(pixels).boxes)
    for threshold in (1.1, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="from 0 to 1"):
            model.predict(pixels, threshold=threshold)
    for options, says in (({"limit": 0}, "from 1 to 100000"), ({"batch_size": 0}, "at least 1")):
        with pytest.raises(ConfigError, match=f"must be {says}, got 0"):
            model.predict(pixels, **options)  # type: ignore[call-overload]
    for options in ({"threshold": "0.3"}, {"tiles": 64.0}, {"multi_scale": "yes"}, {"batch_size": 1.5}):
        with pytest.raises(ConfigError, match=r"must be .*, got"):
            model.predict(pixels, **options)  # type: ignore[call-overload]


def test_what_is_not_given_is_as_the_model_has_it(checkpoint: Path, pixels: np.ndarray[Any, Any]) -> None:
    model = paa.load(checkpoint, "cpu")
    expected = model.predict(pixels, threshold=0.3, limit=5, voting=False, nms_iou=0.4, candidate_threshold=0.1)
    model.inference = InferenceConfig(0.3, 0.1, voting=False, nms_iou=0.4, max_detections=5)
    assert_same(model.predict(pixels), expected)
    assert len(model.predict(pixels, threshold=0, candidate_threshold=0.05, limit=100)) > len(expected)


def test_training_goes_on_after_a_prediction(checkpoint: Path, pixels: np.ndarray[Any, Any]) -> None:
    model = paa.load(checkpoint, "cpu")
    assert not model.training
    model.train()
    model.backbone.layer1.eval()  # as somebody freezes it by hand
    before = [module.training for module in model.modules()]
    model.predict(pixels)
    assert [module.training for module in model.modules()] == before
    assert model.training


def test_a_model_in_training_mode_predicts_in_several_threads(checkpoint: Path, pixels: np.ndarray[Any, Any]) -> None:
    model = PAA(dataclasses.replace(paa.load(checkpoint, "cpu").config, norm="batch"), ("one", "other"))
    model.inference = InferenceConfig(candidate_threshold=0.0)  # as it has learned nothing yet
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    expected = model.predict(pixels)
    assert len(expected) > 10
    with ThreadPoolExecutor(4) as threads:
        assert all(found == expected for found in threads.map(lambda _: model.predict(pixels), range(12)))
    assert model.training
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())


def test_loading_leaves_the_programs_random_numbers_alone(checkpoint: Path) -> None:
    before = torch.get_rng_state()
    paa.load(checkpoint, "cpu")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "source", [np.zeros((4, 4, 7), np.uint8), np.full((4, 4), 300.0), torch.zeros(4, 4), 17, np.zeros((4, 4), np.int64)]
)
def test_what_is_no_image(model: PAA, source: Any) -> None:
    with pytest.raises(ImageError, match="expected"):
        model.predict(source)
    with pytest.raises(ImageError, match=r"nowhere\.png: no such image"):
        model.predict("nowhere.png")


def test_save_and_load(model: PAA, pixels: np.ndarray[Any, Any], tmp_path: Path) -> None:
    model.save(str(tmp_path / "mine.safetensors"))
    again = paa.load(tmp_path / "mine.safetensors", device="cpu")
    assert again.config == model.config
    assert_same(again.predict(pixels), model.predict(pixels))
    with pytest.raises(RunError, match="unknown device 'banana'"):
        paa.load(tmp_path / "mine.safetensors", device="banana")
    with pytest.raises(CheckpointError, match=r"gone\.pt: no such file"):
        paa.load(tmp_path / "gone.pt")


def test_loads_a_checkpoint_of_the_seed(tmp_path: Path, pixels: np.ndarray[Any, Any]) -> None:
    shapes = json.loads((GOLDEN / "seed_state_dicts.json").read_text())["res50_1x"]
    torch.save(filled(GOLDEN, shapes), tmp_path / "seed.pth")
    model = paa.load(tmp_path / "seed.pth", "cpu")
    assert model.config.legacy
    assert (model.names[0], model.names[79]) == ("person", "toothbrush")
    model.config = dataclasses.replace(model.config, min_size=128)
    found = model.predict(pixels[:32, :32], limit=5)
    assert found.names == model.names
    model.save(tmp_path / "ours.safetensors")
    again = paa.load(tmp_path / "ours.safetensors", "cpu")
    assert again.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def assert_same_weights(a: PAA, b: PAA) -> None:
    assert (a.config, a.names) == (b.config, b.names)
    assert list(a.state_dict()) == list(b.state_dict())
    for name, tensor in a.state_dict().items():
        assert tensor.dtype == b.state_dict()[name].dtype
        assert torch.equal(tensor, b.state_dict()[name]), name


@pytest.mark.parametrize("name", ["mine.pt", "mine", "mine.safetensors.pt"])
def test_a_model_is_saved_under_its_kind_of_name_only(model: PAA, tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=r"a model is saved as safetensors: name it mine.*\.safetensors$"):
        model.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_saving_remembers_where_the_model_came_from(model: PAA, checkpoint: Path, tmp_path: Path) -> None:
    assert model.provenance == {"file": checkpoint.name, "format": "paa checkpoint"}
    model.save(tmp_path / "a.safetensors")
    assert paa.load(tmp_path / "a.safetensors", "cpu").provenance == model.provenance


def test_save_pretrained_and_back(model: PAA, pixels: np.ndarray[Any, Any], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    model.save_pretrained(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert "object-detection" in (folder / "README.md").read_text()
    for again in (
        PAA.from_pretrained(folder),
        PAA.from_pretrained(str(folder), device="cpu"),
        paa.load(folder / "model.safetensors"),
    ):
        assert isinstance(again, PAA)
        assert not again.training
        again.cpu()
        assert_same_weights(again, model)
        assert_same(again.predict(pixels), model.predict(pixels))
    model.save_pretrained(folder)  # over the old one
    assert_same_weights(PAA.from_pretrained(folder).cpu(), model)


def test_save_pretrained_leaves_the_files_of_a_run(model: PAA, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("{}\n")
    (tmp_path / "config.json").write_text("the run's")
    with pytest.raises(CheckpointError, match=r": has a training run, whose config\.json would be lost$"):
        model.save_pretrained(tmp_path)
    (tmp_path / "log.jsonl").unlink()
    optimised = paa.load(checkpoint, "cpu").optimise()
    for save in (optimised.save_pretrained, optimised.push_to_hub):
        with pytest.raises(CheckpointError, match="an optimised model cannot be saved; save it before"):
            save(str(tmp_path))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("config.json", "the run's")]


def test_config_json_is_for_people_only(model: PAA, tmp_path: Path) -> None:
    """Everything is in the model file: a config.json that is missing, or of another model, changes nothing."""
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "names": ["other"]}))
    assert_same_weights(PAA.from_pretrained(tmp_path).cpu(), model)
    (tmp_path / "config.json").unlink()
    assert_same_weights(PAA.from_pretrained(tmp_path).cpu(), model)


def test_a_folder_without_a_model(model: PAA, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        PAA.from_pretrained(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'model.safetensors'}: no such file"
    model.save_pretrained(tmp_path)
    data = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: ") as caught:
        PAA.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_push_to_hub_uploads_reads_back_bit_equal(
    model: PAA, pixels: np.ndarray[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = tmp_path / "hub"

    def create_repo(self: HfApi, repo_id: str, **options: Any) -> Any:
        return SimpleNamespace(repo_id=f"somebody/{repo_id}")

    def upload_folder(self: HfApi, *, repo_id: str, folder_path: Path, **options: Any) -> str:
        assert options["repo_type"] == "model"
        shutil.copytree(folder_path, hub / repo_id)
        return f"https://hub/{repo_id}"

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    assert model.push_to_hub("detector") == "https://hub/somebody/detector"
    uploaded = hub / "somebody" / "detector"
    assert sorted(path.name for path in uploaded.iterdir()) == ["README.md", "config.json", "model.safetensors"]

    asked: list[tuple[str, str, str | None]] = []

    def download(repo_id: str, filename: str, *, revision: str | None = None, **options: Any) -> str:
        asked.append((repo_id, filename, revision))
        return str(hub / repo_id / filename)

    monkeypatch.setattr("paa.predictor.hf_hub_download", download)
    monkeypatch.setattr(
        "huggingface_hub.hub_mixin.hf_hub_download", lambda repo_id, filename, **_: str(hub / repo_id / filename)
    )
    again = PAA.from_pretrained("somebody/detector", revision="v2").cpu()
    assert asked == [("somebody/detector", "model.safetensors", "v2")]
    assert_same_weights(again, model)
    assert_same(again.predict(pixels), model.predict(pixels))


def test_from_pretrained_takes_a_device_and_nothing_unknown(tmp_path: Path, checkpoint: Path) -> None:
    paa.load(checkpoint, "cpu").save_pretrained(tmp_path / "folder")
    assert paa.PAA.from_pretrained(str(tmp_path / "folder"), device="cpu").mean.device.type == "cpu"
    with pytest.raises(RunError, match="cuda:77"):
        paa.PAA.from_pretrained(str(tmp_path / "folder"), device="cuda:77")
    with pytest.raises(TypeError, match="devise"):
        paa.PAA.from_pretrained(str(tmp_path / "folder"), devise="cpu")


@pytest.mark.parametrize("name", ["no-such-folder", "someone/nothing", "./no/such/folder"])
def test_from_pretrained_of_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=f"^{name}: no such folder") as caught:
        paa.PAA.from_pretrained(name, cache_dir=tmp_path / "cache", local_files_only=True)
    assert "\n" not in str(caught.value)
