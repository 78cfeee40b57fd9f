"""ONNX Runtime, OpenVINO and NNCF are imported without a word to their makers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_WATCH = """
import sys
attempts = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "urllib.Request"):
        open({log!r}, "a").write(f"{{event}} {{arguments}}\\n")
sys.addaudithook(watch)
"""
_OURS = """
from pathlib import Path
from paa.export.packages import check_packages
check_packages(Path("a.xml"), "openvino", "openvino", "nncf", "onnxruntime")
import nncf, openvino as ov, numpy as np
x = ov.opset13.parameter([1, 3, 8, 8], np.float32, name="x")
model = ov.Model([ov.opset13.relu(ov.opset13.convolution(
    x, np.ones((4, 3, 3, 3), np.float32), [1, 1], [0, 0], [0, 0], [1, 1]))], [x])
nncf.quantize(model, nncf.Dataset([np.ones((1, 3, 8, 8), np.float32)]))
"""


def attempts(code: str, folder: Path) -> str:
    """Run code in a new process, and return its attempts to reach the network, also those of processes it forks."""
    log = folder / "attempts"
    log.touch()
    home = folder / "home"
    home.mkdir()
    hidden = ("CI", "TF_BUILD", "JENKINS_URL", "NNCF_CI", "NNCF_DEV", "ORT_DISABLE_TELEMETRY")
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | {"HOME": str(home)}
    code = _WATCH.format(log=str(log)) + code + "\nimport time; time.sleep(1)"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=300, capture_output=True)
    return log.read_text()


def test_no_connection_is_attempted(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    assert not attempts(_OURS, tmp_path)
    assert not list((tmp_path / "home").rglob("openvino*"))  # an identity of this user


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the processes that send are not forked, so cannot be watched")
def test_the_watch_sees_what_openvino_does_by_itself(tmp_path: Path) -> None:
    pytest.importorskip("openvino_telemetry")
    assert "google-analytics" in attempts("import openvino", tmp_path)


def test_a_program_that_imported_openvino_before_is_quiet_from_then_on(tmp_path: Path) -> None:
    pytest.importorskip("openvino_telemetry")
    code = """
import openvino, openvino_telemetry
from pathlib import Path
assert openvino_telemetry.Telemetry().consent
from paa.export.packages import check_packages
check_packages(Path("a.xml"), "openvino", "openvino", "nncf")
assert not openvino_telemetry.Telemetry().consent
"""
    attempts(code, tmp_path)
