"""The packages that exported models need, which `pip install paa` leaves out, and which must send nothing home."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from paa.errors import ConfigError
from paa.runtime.extras import not_installed


def check_packages(path: Path, extra: str, *packages: str) -> None:
    """Import packages without their telemetry; ConfigError, about this file, if one is not installed.

    extra: the one of this project that installs them.
    """
    _turn_off_telemetry()
    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            raise ConfigError(f"{path}: {not_installed(package, extra)}") from error


def _turn_off_telemetry() -> None:
    """Keep this process's ONNX Runtime, OpenVINO and NNCF from sending events to their makers.

    ONNX Runtime looks at a variable when it is first imported. OpenVINO and NNCF send events through the package
    `openvino_telemetry`, at their import too, and work without it where it cannot be imported.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    telemetry: Any = sys.modules.setdefault("openvino_telemetry", cast(Any, None))
    if telemetry is not None:  # the program imported OpenVINO before
        with contextlib.suppress(RuntimeError):  # nothing has set it up, so that nothing is sent
            telemetry.Telemetry().consent = False
