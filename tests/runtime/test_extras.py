"""Without the packages of the extras, all else works, and one line names the missing package."""

import json
import re
import subprocess
import sys

import pytest

from paa.evaluation.operating_point import ClassCurve
from paa.report.curves import precision_recall_curves
from paa.runtime.distributed import start
from paa.training.train import train

WITHOUT_EXTRAS = """
import sys
sys.modules.update(dict.fromkeys(["huggingface_hub", "tensorboard", "matplotlib", "timm", "onnx", "onnxruntime"]))
import json, pathlib
import paa
import paa.commands.main, paa.commands.run_demo

checkpoint, image, folder = sys.argv[1:]
model = paa.load(checkpoint, "cpu")
model.save(pathlib.Path(folder) / "model.safetensors")
said = []
for call in (
    lambda: model.push_to_hub("somebody/detector"),
    lambda: model.save_pretrained(folder),
    lambda: paa.PAA.from_pretrained("somebody/detector"),
):
    try:
        call()
    except paa.PaaError as error:
        said.append(f"{type(error).__name__}: {error}")
again = paa.PAA.from_pretrained(folder, device="cpu")
found = [len(m.predict(image)) for m in (model, again)]
print(json.dumps({"said": said, "found": found}))
"""


@pytest.fixture
def hidden(monkeypatch):
    """Return a function that makes modules look as if they were not installed."""

    def hide(*names):
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


def test_a_model_loads_saves_and_predicts_without_any_extra(checkpoint, shapes, tmp_path):
    image = next((shapes / "images").iterdir())
    command = [sys.executable, "-c", WITHOUT_EXTRAS, str(checkpoint), str(image), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    missing = "huggingface_hub is not installed: pip install 'paa[hub]'"
    assert result["said"] == [
        f"ConfigError: push_to_hub: {missing}",
        f"ConfigError: save_pretrained: {missing}",
        f"CheckpointError: somebody/detector: no such folder, and as a repository: {missing}",
    ]
    assert result["found"][0] == result["found"][1] > 0


def test_training_without_tensorboard_logs_to_log_jsonl(micro, tmp_path, hidden, caplog):
    hidden("tensorboard", "torch.utils.tensorboard")
    with start("cpu") as process:
        result = train(micro(tmp_path / "run"), process)
    assert not (result.folder / "tensorboard").exists()
    assert [json.loads(line)["step"] for line in result.log.read_text().splitlines()] == [1, 2, 3, 4]
    lines = [message for message in caplog.messages if "tensorboard" in message]
    assert lines == [
        f"no curves are written to {result.folder / 'tensorboard'}: tensorboard is not installed: "
        "pip install 'paa[tensorboard]'"
    ]


def test_without_matplotlib_a_plot_is_left_out(tmp_path, hidden, caplog):
    hidden("matplotlib", "matplotlib.figure")
    precision_recall_curves([ClassCurve("cat", 1, [], [], [], None, None, None)], tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())
    assert caplog.messages == [
        f"{tmp_path / 'curves.png'} is not drawn: matplotlib is not installed: pip install 'paa[plots]'"
    ]


def test_each_extra_named_in_a_message_exists(request):
    text = (request.config.rootpath / "pyproject.toml").read_text()
    for extra in ("hub", "onnx", "plots", "serve", "tensorboard", "timm"):
        assert re.search(rf"^{extra} = \[", text, flags=re.M)
