from __future__ import annotations

import sys

import pytest

from paa.commands.main import main
from paa.serve.packages import check_packages


def test_all_are_installed_where_tests_run() -> None:
    check_packages()


@pytest.mark.parametrize("package", ["gradio", "uvicorn", "prometheus_client"])
def test_a_missing_one_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as ended:
        main(["serve", "model.pt"])
    assert ended.value.code == 2
    expected = f"paa: error: paa serve: {package} is not installed: pip install 'paa[serve]'\n"
    assert capsys.readouterr().err == expected
