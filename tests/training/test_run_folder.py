from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from paa.errors import RunError
from paa.runtime.files import check_folder, write_text
from paa.training.run_folder import RunFolder, environment, save_checkpoint
from tests.mounts import run_with_small_disk

FULL_DISK = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from paa.commands.main import main
from paa.runtime.files import whole_file
from paa.training.run_folder import RunFolder, save_checkpoint
from paa.errors import PaaError

folder = Path(sys.argv[1])
save_checkpoint(folder / "last.pt", {"step": 1})
try:
    save_checkpoint(folder / "last.pt", {"model": torch.zeros(20_000_000)})
except PaaError as error:
    print(error)
assert torch.load(folder / "last.pt", weights_only=True) == {"step": 1}
try:
    with whole_file(folder / "model.safetensors") as temporary:
        save_file({"model": torch.zeros(20_000_000)}, temporary)
except PaaError as error:
    print(error)
assert [path.name for path in folder.iterdir()] == ["last.pt"]
try:
    RunFolder(folder).append({"step": 2, "text": "x" * 80_000_000})
except PaaError as error:
    print(error)
(folder / "log.jsonl").unlink()
torch.set_num_threads(1)
try:
    main(["train", "--output", str(folder / "run"), "--checkpoint-interval", "1", *sys.argv[2:]])
except SystemExit as stop:
    print(stop.code)
print(torch.load(folder / "run" / "last.pt", weights_only=True)["training"]["step"])
"""


def test_a_checkpoint_is_whole_or_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})

    def half_way(content: object, file: BinaryIO) -> None:
        file.write(b"half of it")
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 704 vs 598") from error

    monkeypatch.setattr(torch, "save", half_way)
    for target, kept in ((path, "; what it held before is unchanged"), (tmp_path / "new.pt", "")):
        with pytest.raises(RunError) as caught:
            save_checkpoint(target, {"step": 2})
        says = rf"{target}: cannot be written: No space left on device, with [\d.]+ \w+ free on its disk{kept}"
        assert re.fullmatch(says, str(caught.value))
    monkeypatch.undo()
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert os.listdir(tmp_path) == ["last.pt"]  # noqa: PTH208


def test_a_full_disk(tmp_path: Path, shapes: Path, options: list[str]) -> None:
    """What is written is whole or missing; a run ends with one line, and its last checkpoint stays."""
    script = tmp_path / "save.py"
    script.write_text(FULL_DISK)
    disk = tmp_path / "disk"
    disk.mkdir()
    more = ["--data", str(shapes), *options, "--val-batch-size", "0"]  # a checkpoint has 45 MB
    done = run_with_small_disk(disk, "70m", [sys.executable, str(script), str(disk), *more])
    assert done.returncode == 0, done.stderr
    *lines, code, step = done.stdout.splitlines()
    assert (code, step) == ("2", "1")
    said = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(said) == 1
    assert said[0].startswith(f"paa: error: {disk}/run/last.pt: cannot be written: No space left on device, with ")
    assert said[0].endswith("free on its disk; what it held before is unchanged")
    for line, name in zip(lines, ("last.pt", "model.safetensors", "log.jsonl")):
        assert line.startswith(f"{disk / name}: cannot be written: ")
        assert "No space left on device" in line
        assert " free on its disk" in line


def test_a_text_file_is_whole_or_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.md"
    write_text(path, "größer 猫\n")
    assert path.read_bytes() == "größer 猫\n".encode()

    def fail(self: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RunError, match=r"report\.md: cannot be written: Input/output error"):
        write_text(path, "other")
    assert [p.name for p in tmp_path.iterdir()] == ["report.md"]
    assert path.read_text(encoding="utf-8") == "größer 猫\n"


def test_a_text_with_file_names_that_are_not_unicode(tmp_path: Path) -> None:
    write_text(tmp_path / "names.txt", "caf\udce9.jpg\n")
    assert (tmp_path / "names.txt").read_bytes() == b"caf\\udce9.jpg\n"


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


def test_the_log_forgets_a_validation_that_was_not_finished(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for record in ({"step": 2, "AP": 0.1}, {"step": 3, "loss": 1.0}, {"step": 3, "AP": 0.2}, {"step": 4, "loss": 2.0}):
        run.append(record)
    assert run.forget_after(3, validated=True) == [{"step": 3, "loss": 1.0}, {"step": 3, "AP": 0.2}]
    assert run.forget_after(3, validated=False) == [{"step": 3, "loss": 1.0}]
    assert run.records() == [{"step": 2, "AP": 0.1}, {"step": 3, "loss": 1.0}]


def test_a_new_run_needs_an_empty_folder(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "a" / "b") as run:
        run.check_empty()
        assert not (tmp_path / "a").exists()
        run.lock()
        run.lock()
        run.check_empty()
        assert [path.name for path in run.path.iterdir()] == ["lock"]
    assert list(run.path.iterdir()) == []
    (tmp_path / "a" / "b" / "notes").write_text("mine")
    with pytest.raises(RunError, match=r"exists and is not empty; give another --output$"):
        RunFolder(tmp_path / "a" / "b").check_empty()
    (tmp_path / "a" / "b" / "config.json").write_text("{}")
    with pytest.raises(RunError, match=r"give another --output, or --resume to resume its run$"):
        RunFolder(tmp_path / "a" / "b").check_empty()


CONFIG = {"recipe": {}, "first_checkpoint": 10, "schedule": {"steps": 40}}
SHORT = {**CONFIG, "schedule": {"steps": 10}}


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"slurm-1.out": ""},
        {"config.json": json.dumps(CONFIG)},
        {"config.json": json.dumps(CONFIG), "log.jsonl": "", "tensorboard": ""},
        {"config.json": json.dumps(CONFIG), "log.jsonl": '{"step": 9}\n{"step": 1'},
        # killed before the first checkpoint was written, or meanwhile
        {"config.json": json.dumps(CONFIG), "log.jsonl": '{"step": 10}\n'},
        {"config.json": json.dumps(SHORT), "log.jsonl": '{"step": 10}\n', "last.pt.7-0123abcd.tmp": ""},
    ],
)
def test_a_run_is_started_before_its_first_checkpoint(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert RunFolder(tmp_path).checkpoint_to_resume() is None
    (tmp_path / "last.pt").write_text("")
    assert RunFolder(tmp_path).checkpoint_to_resume() == tmp_path / "last.pt"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            {"best.pt": ""},
            r"last\.pt: no such file, but best\.pt exists: resume from that with --resume .*best\.pt, or",
        ),
        (
            {"config.json": json.dumps(SHORT), "log.jsonl": '{"step": 10}\n'},
            r"log\.jsonl goes up to step 10: .*--output",
        ),
        (
            {"config.json": json.dumps(CONFIG), "log.jsonl": '{"step": 11}\n', "last.pt.7-0123abcd.tmp": ""},
            r"log\.jsonl goes up to step 11",
        ),
        ({"log.jsonl": '{"step": 1}\n{"step": 7}\n'}, r"log\.jsonl goes up to step 7"),
        ({"config.json": '{"recipe": 1}', "log.jsonl": '{"step": 1}\n'}, r"log\.jsonl goes up to step 1"),
        ({"config.json": '{"model_type": "bert"}'}, r"config\.json: is not the configuration of a .* run.*--output"),
        ({"config.json": "[tool]"}, r"config\.json: is not the configuration of a training run"),
        ({"README.md": "notes"}, r"README\.md: is of no training run, as config\.json is not there.*another --output"),
        ({"recipe.json": "{}", "notes": ""}, r"recipe\.json: is of no training run"),
        ({"log.jsonl": "line 1\n"}, r"log\.jsonl: is of no training run"),
    ],
)
def test_what_is_left_of_a_run_is_not_overwritten(tmp_path: Path, files: dict[str, str], says: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(RunError, match=says):
        RunFolder(tmp_path).checkpoint_to_resume()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    others = {"last.pt", "notes.tmp", "last.pt.tmp.mine", "results.json.12-0123abcd.tmp", "mylast.pt.tmp"}
    ours = {"last.pt.tmp", "last.pt.123-0123abcd.tmp", "best.pt.1-00000000.tmp", "log.jsonl.77-ffffffff.tmp"}
    for name in others | ours:
        (tmp_path / name).write_text("")
    RunFolder(tmp_path).clean()
    assert {path.name for path in tmp_path.iterdir()} == others


def test_checkpoints_of_equal_content_are_equal_files(tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": {"a": torch.arange(5.0)}, "names": ["a"]}
    for name in ("last.pt", "best.pt"):
        save_checkpoint(tmp_path / name, content)
    assert (tmp_path / "last.pt").read_bytes() == (tmp_path / "best.pt").read_bytes()


def test_check_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "deep")
    monkeypatch.chdir(tmp_path)
    check_folder(Path("new"))
    for path in (Path("file"), tmp_path / "file", tmp_path / "file" / "deep" / "er"):
        with pytest.raises(RunError, match=r"file.*: cannot be written to: .*file is not a writable folder"):
            check_folder(path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for a user who may not write
    with pytest.raises(RunError, match="cannot be written to"):
        check_folder(tmp_path / "new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_environment_outside_git(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(environment()) >= {"paa", "python", "torch", "torchvision", "machine", "gpu", "git_commit", "command"}
    monkeypatch.setenv("PATH", "")
    found = environment()
    assert found["git_commit"] is None
    assert found["git_changed_files"] is None
    json.dumps(found)


def test_a_checkpoint_is_read_again_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk or memory that changed a byte of it is noticed while the checkpoint before is there."""
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})
    save = torch.save

    def damaging(content: object, file: BinaryIO) -> None:
        save(content, file)
        file.seek(file.tell() // 2)
        file.write(b"\xff\x00\xff")

    monkeypatch.setattr(torch, "save", damaging)
    with pytest.raises(RunError, match=r"last\.pt: was not written as it should be .*faulty"):
        save_checkpoint(path, {"weights": torch.arange(10_000)})
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def saved_twice(path: Path) -> RunFolder:
    folder = RunFolder(path)
    for step in (1, 2):
        folder.keep_previous()
        save_checkpoint(folder.last, {"step": step})
    return folder


def test_the_checkpoint_before_the_last_is_kept(tmp_path: Path) -> None:
    folder = saved_twice(tmp_path)
    assert torch.load(folder.last, weights_only=True) == {"step": 2}
    assert torch.load(folder.previous, weights_only=True) == {"step": 1}
    assert folder.checkpoint_to_resume() == folder.last
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "previous.pt"}


@pytest.mark.parametrize("links", [True, False])
def test_the_checkpoint_before_is_kept_with_and_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:

        def refuse(*given: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    folder = saved_twice(tmp_path)
    folder.last.write_bytes(b"")  # what happens to one must not happen to the other once a new one is saved
    assert torch.load(folder.previous, weights_only=True) == {"step": 1}


@pytest.mark.parametrize("damage", ["cut", "empty", "a bit", "missing"])
def test_a_damaged_last_checkpoint_falls_back(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    folder = saved_twice(tmp_path)
    content = bytearray(folder.last.read_bytes())
    if damage == "missing":
        folder.last.unlink()
    else:
        content[content.index(b"step")] ^= 1
        folder.last.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "a bit": content}[damage])
    assert folder.checkpoint_to_resume() == folder.previous
    assert re.search(r"last\.pt.*; the run goes on from .*previous\.pt, which was saved before it", caplog.text)
    folder.set_damaged_aside()
    assert not folder.last.exists()
    folder.keep_previous()
    assert torch.load(folder.previous, weights_only=True) == {"step": 1}


def test_a_finished_run_whose_checkpoint_was_moved_is_left_alone(tmp_path: Path) -> None:
    folder = saved_twice(tmp_path)
    folder.config.write_text('{"recipe": {}, "schedule": {"steps": 2}}')
    folder.log.write_text('{"step": 1}\n')
    folder.last.unlink()
    assert folder.checkpoint_to_resume() == folder.previous  # a crash may have lost the last one
    folder.log.write_text('{"step": 1}\n{"step": 2}\n')
    with pytest.raises(RunError, match=r"last\.pt: no such file, but the run is finished.*--resume .*previous\.pt"):
        folder.checkpoint_to_resume()


def test_where_both_are_damaged_the_last_is_named(tmp_path: Path) -> None:
    folder = saved_twice(tmp_path)
    folder.last.write_bytes(b"")
    folder.previous.write_bytes(b"")
    assert folder.checkpoint_to_resume() == folder.last  # whose error is the one to show
