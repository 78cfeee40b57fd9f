"""Whatever is wrong with what a person gives: one line that says so, exit code 2, and nothing written or changed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from paa.commands.main import main

WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Starts a program of root that must keep to the permissions of files, as everybody else's."""

BAD = """
predict nofile.pt shapes/images | nofile.pt: no such file
predict folder shapes/images | folder: a folder, not a file
predict empty shapes/images | empty: an empty file
predict text.txt shapes/images | text.txt: a text, not a checkpoint
predict model.pt nofile.jpg | nofile.jpg: no such file
predict model.pt folder | folder: no images or videos in this folder
predict model.pt text.txt | text.txt: a text, not an image
predict model.pt '' | the argument after model.pt is empty
predict model.pt shapes/images --output= | the argument of --output is empty
predict model.pt shapes/images --output text.txt | text.txt: cannot be written to
predict model.pt shapes/images --output text.txt/x | text.txt/x: cannot be written to
predict model.pt shapes/images --output /proc/x | /proc/x: No such file or directory
predict model.pt shapes/images --threshold nan | threshold must be from 0 to 1
predict model.pt shapes/images --max-detections 99999999999 | max_detections must be from 1 to 100000
predict model.pt shapes/images --batch-size 0 | the batch size must be at least 1
predict model.pt shapes/images --top-k -1 | --top-k must be at least 1
predict model.pt shapes/images --classes dragon | the model has no class dragon
predict model.pt shapes/images --device gpu | unknown device 'gpu'
predict model.pt shapes/images --thresholds broken.json | broken.json: not the metrics.json
predict model.pt shapes/images --tiles 64 --multi-scale | tiles and multi-scale testing cannot be combined
eval model.pt --data nofolder | nofolder: no such file or folder
eval model.pt --data folder | folder: no data set
eval model.pt --data broken.json | broken.json: broken JSON at line 1
eval model.pt --data latin.json | latin.json: cannot be read as text
eval broken.json --data shapes | broken.json: not a JSON file
eval model.pt --data shapes --split nosplit | no COCO annotations for 'nosplit'
eval model.pt --data shapes --draws -1 | --draws must be at least 0
eval model.pt --data shapes --draws 99999999999 | --draws must be at most 100000
eval model.pt --data shapes --output text.txt | text.txt: cannot be written to
explain model.pt | --data is missing
explain nofile.pt --data shapes | nofile.pt: no such file
explain folder | folder: the run recorded no assignment
explain folder --data shapes | folder: a folder; --data goes with a checkpoint
explain model.pt --data shapes --image dragon | shapes: split val has no image
explain model.pt --data shapes --limit 0 | --limit must be from 1 to
convert model.pt out.pt | out.pt: a model is saved as safetensors
convert model.pt nofolder/out.safetensors | there is no folder nofolder
convert model.pt folder.safetensors | folder.safetensors: cannot be written
convert model.pt out.safetensors --names a b | has 4 classes, 2 names are given
export model.pt out.pt | out.pt: the ending of its name says the form of the exported model
export model.pt folder.onnx | folder.onnx: a folder, not a file
export model.pt out.onnx --tolerance nan | --tolerance must be at least 0
export model.pt out.onnx --max-detections 999999999 | max_detections must be from 1 to 100000
weights noname | noname: no model that can be fetched
demo --images -1 | --images and --steps cannot be negative
demo --output text.txt | text.txt: cannot be written to
demo --output shapes | shapes: exists and is not empty
data check nofolder | nofolder: no such file or folder
data check shapes --positives -1 | --positives must be at least 0
data check shapes --small nan | --small must be at least 0
data check shapes --checkpoint model.pt --recipe r50_1x | --checkpoint and --recipe exclude each other
data stats shapes --output text.txt | text.txt: cannot be written to
data view shapes --output sheet.gif | sheet.gif: --output must end in
data view shapes --least-side nan | --least-side must be at least 0
data view shapes --classes dragon | no class 'dragon'
data convert shapes folder2 --to yolo | folder2: exists already
data split shapes new --val-fraction nan | --val-fraction must be from 0 to below 1
data split shapes new --seed -1 | --seed must be at least 0
data split shapes new --workers -1 | --workers must be at least 0
data split shapes new --group ( | --group
train --data nofolder --output new | nofolder: no such file or folder
train --data shapes --output text.txt | text.txt: cannot be written to
train --data shapes --output new --schedule.steps 99999999999999999999999 | schedule.steps must be below 2^31
train --data shapes --output new --schedule.epochs 1e300 | schedule.epochs must be above 0
train --data shapes --output new --assignment-interval -1 | runtime.assignment_interval must be at least 0
train --data shapes --output new --batch-size -1 | batch_size must be at least 1
train --data shapes --output new --init nofile.pt | nofile.pt: no such file
train --data shapes --output new --recipe folder | unknown recipe 'folder'
nocommand | unknown command 'nocommand'
data nocommand | unknown command 'data nocommand'
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shapes: Path, checkpoint: Path) -> Path:
    """Return a folder of a data set, a checkpoint, and files of every kind that is wrong."""
    path = tmp_path_factory.mktemp("bad")
    shutil.copytree(shapes, path / "shapes")
    shutil.copy(checkpoint, path / "model.pt")
    for name in ("folder", "folder.onnx", "folder.safetensors", "folder2/x"):
        (path / name).mkdir(parents=True)
    (path / "empty").touch()
    (path / "text.txt").write_text("text\n")
    (path / "broken.json").write_text('{"images": ')
    (path / "latin.json").write_bytes(b'{"images": "\xe9"}')
    return path


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what the folder holds: the size and the time of every file."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


@pytest.mark.parametrize("case", BAD.strip().splitlines())
def test_one_line_and_nothing_written(
    case: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, _, says = case.partition(" | ")
    monkeypatch.chdir(folder)
    before = state(folder)
    with pytest.raises(SystemExit) as stopped:
        main(shlex.split(command))
    assert stopped.value.code == 2
    *logged, last = capsys.readouterr().err.splitlines()
    assert last.startswith("paa: error: ")
    assert says in last
    assert all(line.startswith("paa: ") for line in logged)  # what was read before
    assert state(folder) == before


CLOSED = {
    "eval unreadable.pt --data shapes": "unreadable.pt: cannot be read",
    "eval model.pt --data unreadable.json": "unreadable.json: cannot be read",
    "predict model.pt unreadable.jpg --output new": "unreadable.jpg: cannot be read",
    "predict model.pt shapes/images --output closed": "closed: cannot be written to",
    "data split shapes closed/new": "closed/new: cannot be written to",
    "convert model.pt closed/x.safetensors": "closed/x.safetensors: cannot be written",
    "export model.pt closed/x.onnx": "closed: cannot be written to",
    "demo --output closed/demo": "closed/demo: cannot be written to",
}
"""Commands on files that cannot be read and folders that cannot be written to, and what each says."""

PROGRAM = """
import contextlib, io, json, sys
from paa.commands.main import main

ends = []
for command in json.load(sys.stdin):
    with contextlib.redirect_stderr(io.StringIO()) as error:
        try:
            main(command.split())
            code = 0
        except SystemExit as stop:
            code = stop.code
    ends.append((code, error.getvalue().splitlines()[-1]))
json.dump(ends, sys.stdout)
"""


def test_permissions(folder: Path) -> None:
    for name, original in (("unreadable.pt", "model.pt"), ("unreadable.json", "shapes/val.json")):
        shutil.copy(folder / original, folder / name)
    shutil.copy(next((folder / "shapes/images").iterdir()), folder / "unreadable.jpg")
    for unreadable in folder.glob("unreadable.*"):
        unreadable.chmod(0)
    (folder / "closed").mkdir(mode=0o555)
    root = os.geteuid() == 0
    if root and shutil.which(WITHOUT_RIGHTS[0]) is None:
        pytest.skip("root may read and write everything, and there is no setpriv")
    program = [*(WITHOUT_RIGHTS if root else ()), sys.executable, "-c", PROGRAM]
    given = json.dumps(list(CLOSED))
    done = subprocess.run(program, cwd=folder, input=given, capture_output=True, text=True, timeout=600, check=False)
    assert not done.stderr
    for (code, error), says in zip(json.loads(done.stdout.splitlines()[-1]), CLOSED.values(), strict=True):
        assert code == 2
        assert error.startswith(f"paa: error: {says}")
    assert not any((folder / "closed").iterdir())
