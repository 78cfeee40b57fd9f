from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from paa.engine.run_folder import RunFolder, check_folder, environment, save_checkpoint, write_text
from paa.errors import RunError


def test_a_checkpoint_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})

    def half_way(content: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half_way)
    for target in (path, tmp_path / "new.pt"):
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(target, {"step": 2})
    monkeypatch.undo()
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert os.listdir(tmp_path) == ["last.pt"]  # noqa: PTH208


def test_a_text_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.md"
    write_text(path, "größer 猫\n")
    assert path.read_bytes() == "größer 猫\n".encode()

    def fail(self: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_text(path, "other")
    assert [p.name for p in tmp_path.iterdir()] == ["report.md"]
    assert path.read_text(encoding="utf-8") == "größer 猫\n"


def test_the_log_forgets_what_is_to_be_written_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.forget_after(3)
    assert not run.log.exists()
    for step in (1, 2, 2, 3, 4):
        run.append({"step": step, "loss": step / 7})
    whole = run.log.read_text()
    with run.log.open("a") as log:
        log.write('{"step": 5, "lo')  # cut short by a power cut
    run.forget_after(4)
    assert run.log.read_text() == whole
    run.forget_after(2)
    assert [json.loads(line)["step"] for line in run.log.read_text().splitlines()] == [1, 2, 2]
    run.append({"step": 3})
    assert json.loads(run.log.read_text().splitlines()[-1]) == {"step": 3}


def test_a_new_run_needs_an_empty_folder(tmp_path: Path) -> None:
    RunFolder(tmp_path / "a" / "b").create()
    RunFolder(tmp_path / "a" / "b").create()
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "a" / "b" / "notes").write_text("mine")
    with pytest.raises(RunError, match="exists and is not empty"):
        RunFolder(tmp_path / "a" / "b").create()


def test_check_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "deep")
    monkeypatch.chdir(tmp_path)
    check_folder(Path("new"))
    for path in (Path("file"), tmp_path / "file", tmp_path / "file" / "deep" / "er"):
        with pytest.raises(RunError, match=r"file.*: nothing can be written there: .*file is not a folder"):
            check_folder(path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for a user who may not
    with pytest.raises(RunError, match="nothing can be written there"):
        check_folder(tmp_path / "new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_environment_outside_git(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(environment()) >= {"paa", "python", "torch", "torchvision", "machine", "gpu", "git_commit", "command"}
    monkeypatch.setenv("PATH", "")
    found = environment()
    assert found["git_commit"] is None
    assert found["git_changed_files"] is None
    json.dumps(found)
