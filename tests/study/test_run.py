"""A study of real runs: each cell once, also after a kill and side by side; other terms are refused."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from paa.commands.main import main
from paa.data.images.decoders import MAX_PIXELS_VARIABLE
from paa.errors import ConfigError, DataError, ImageError, PaaError
from paa.runtime.folder_lock import folder_lock
from paa.runtime.stop_signals import StoppedError, StopSignals
from paa.study.file import Study, read_study
from paa.study.results import gather, read_results
from paa.study.run import run_study
from paa.study.run_cell import read_splits
from paa.training.records import ignore
from tests.study.studies import ATSS, OWN, PAA, small_study
from tests.training.runs import CPU, KilledError, Micro, differences, kill_at, load

LATE_FAULT = """
def mine(outputs, anchors, *given):
    if len(anchors) < 1000 and len(outputs.iou_logits) == 2 and outputs.iou_logits.requires_grad:
        raise ValueError("a fault in training")
"""
LATE = '[[rules]]\nname = "late"\nassigner = "rules.py:late"\n'


def folders(output: Path) -> list[str]:
    """Return the names of the rules that have a finished cell, one for each."""
    return sorted(path.parents[1].name for path in output.rglob("cell.json"))


def test_a_study_goes_on_where_it_was_killed(tmp_path: Path, shapes: Path) -> None:
    study, output = small_study(tmp_path, shapes, PAA), tmp_path / "out"
    with pytest.raises(KilledError):
        run_study(study, output, CPU, kill_at(2))
    assert folders(output) == []
    results = run_study(study, output, CPU)
    assert (len(results.cells), results.missing, results.failed) == (1, [], {})
    cell = results.cells[0]
    assert [line["step"] for line in cell.positives] == [1, 2]
    assert cell.steps == 2
    assert cell.variants["as trained"].keys() >= {"AP", "AP50", "APs"}
    assert len(results.comparisons) == 1

    whole = run_study(study, tmp_path / "whole", CPU)
    assert whole.cells[0].variants == cell.variants
    assert [line["positives"] for line in whole.cells[0].positives] == [line["positives"] for line in cell.positives]
    weights = Path("shapes", "0.5-epochs", "paa", "seed-0", "run", "last.pt")
    assert not differences(load(output / weights)["model"], load(tmp_path / "whole" / weights)["model"])

    # an added rule adds its own cell alone, and the comparison of all rules
    more: list[Any] = []
    results = run_study(small_study(tmp_path, shapes, PAA + ATSS), output, CPU, more.append)
    assert {record["step"] for record in more} == {1, 2}
    assert folders(output) == ["atss-5", "paa"]
    assert list(results.comparisons[0].rules) == ["paa", "atss-5"]
    again = run_study(small_study(tmp_path, shapes, PAA + ATSS), output, CPU, kill_at(1))
    assert again == results

    changed = r"cells that were run with rule atss-5 'atss\(per_level=5\)', not 'atss\(per_level=7\)'"
    with pytest.raises(ConfigError, match=changed):
        run_study(small_study(tmp_path, shapes, PAA + ATSS.replace("per_level = 5", "per_level = 7")), output, CPU)
    with pytest.raises(ConfigError, match="cells that were run with batch_size 2, not 4"):
        run_study(small_study(tmp_path, shapes, PAA, batch_size="4"), output, CPU)


def test_cells_of_another_process_are_left_to_it(
    tmp_path: Path, shapes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study, output = small_study(tmp_path, shapes, PAA + ATSS), tmp_path / "out"
    held = output / "shapes" / "0.5-epochs" / "paa" / "seed-0"
    held.mkdir(parents=True)
    with folder_lock(held), caplog.at_level(logging.INFO, "paa"):
        results = run_study(study, output, CPU)
    assert folders(output) == ["atss-5"]
    assert results.missing == ["paa on shapes, 0.5 epochs, seed 0"]
    assert "1 cells were other processes'" in caplog.text


def test_a_cell_that_fails_does_not_stop_the_others(
    tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rules.py").write_text(OWN)
    study, output = small_study(tmp_path, shapes, LATE + PAA), tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(["study", str(study.file), "--output", str(output), "--json"])
    assert ended.value.code == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["failed"] == {"late on shapes, 0.5 epochs, seed 0": "ValueError: a fault of its own"}
    assert [line["rule"] for line in printed["summary"]] == ["paa"]
    assert folders(output) == ["paa"]
    assert read_results(output / "results.json") == gather(study, output)
    for name in ("results.md", "results.html"):
        assert "a fault of its own" in (output / name).read_text()

    with pytest.raises(SystemExit):
        main(["study", str(study.file), "--output", str(output), "--report-only"])
    assert "1 of 2 runs are finished, 1 failed" in capsys.readouterr().out

    # a mended rule is tried again; once it has learned something its file is among the terms
    (tmp_path / "rules.py").write_text(OWN.replace("< 1000", "< 0"))
    results = run_study(_read_again(study), output, CPU)
    assert (len(results.cells), results.failed) == (2, {})
    (tmp_path / "rules.py").write_text(OWN)
    with pytest.raises(ConfigError, match=r"cells that were run with rules\.py of rule late with the SHA-256"):
        run_study(study, output, CPU)


def _read_again(study: Study) -> Study:
    """Return the study with its rules' files read anew, as another process reads them."""
    for name in [name for name in sys.modules if name.startswith("paa_rules_")]:
        del sys.modules[name]
    return read_study(study.file)


def test_results_are_those_of_the_file(tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Results of other terms, or of another data set at the same place, are never shown as this study's."""
    data, output = tmp_path / "data", tmp_path / "out"
    shutil.copytree(shapes, data)
    run_study(small_study(tmp_path, data, PAA), output, CPU)
    changed = small_study(tmp_path, data, PAA, batch_size="4")
    for folder, says in (
        (output, "has cells that were run with batch_size 2, not 4"),
        (tmp_path / "nowhere", "nowhere: no study was run there; --output names the folder of one"),
    ):
        with pytest.raises(SystemExit):
            main(["study", str(changed.file), "--output", str(folder), "--report-only"])
        assert says in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
    written = json.loads((data / "train.json").read_text())
    written["images"] = written["images"][:4]
    kept = {image["id"] for image in written["images"]}
    written["annotations"] = [each for each in written["annotations"] if each["image_id"] in kept]
    (data / "train.json").write_text(json.dumps(written))
    with pytest.raises(ConfigError, match="cells that were run with images to train on in data shapes 8, not 4"):
        run_study(small_study(tmp_path, data, PAA + ATSS), output, CPU)
    shutil.copy(shapes / "train.json", data)
    shutil.copy(shapes / "val.json", data)
    run_study(small_study(tmp_path, data, PAA), output, CPU)
    written = json.loads((data / "val.json").read_text())
    written["annotations"][0]["bbox"][2] -= 1  # as many as before
    (data / "val.json").write_text(json.dumps(written))
    with pytest.raises(
        ConfigError, match=r"run with checksum of the images to test on in data shapes '\w+', not '\w+'"
    ):
        run_study(small_study(tmp_path, data, PAA + ATSS), output, CPU)
    terms = json.loads((output / "terms.json").read_text())
    terms["images"]["shapes"] = {name: n for name, n in terms["images"]["shapes"].items() if "checksum" not in name}
    (output / "terms.json").write_text(json.dumps(terms))  # as an earlier version wrote it
    run_study(small_study(tmp_path, data, PAA), output, CPU)


def test_one_file_is_not_trained_and_tested_on(tmp_path: Path, shapes: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match=r"train\.json is one annotation file: name the images to test on too"):
        run_study(small_study(tmp_path, shapes / "train.json", PAA), tmp_path / "out", CPU)
    assert not (tmp_path / "out").exists()
    study = small_study(tmp_path, shapes, PAA)
    same = study.file.read_text().replace(f'path = "{shapes}"', f'path = "{shapes}"\nval_split = "train"')
    study.file.write_text(same)
    with pytest.raises(KilledError):
        run_study(read_study(study.file), tmp_path / "out", CPU, kill_at(1))
    assert "data shapes: 8 of 8 validation images are training images too" in caplog.text


def test_cells_that_auto_would_train_otherwise_are_refused(tmp_path: Path, shapes: Path) -> None:
    """As on another device: here the finished cell's recipe is changed instead."""
    output = tmp_path / "out"
    run_study(small_study(tmp_path, shapes, PAA), output, CPU)
    (path,) = output.rglob("cell.json")
    result = json.loads(path.read_text())
    result["recipe"]["precision"] = "bfloat16"
    path.write_text(json.dumps(result))
    results = run_study(small_study(tmp_path, shapes, PAA + ATSS), output, CPU)
    ((cell, said),) = results.failed.items()
    assert cell.startswith("atss-5 on shapes")
    assert "paa/seed-0 was trained with precision bfloat16, not float32: set in the study's file what" in said


def test_an_attempt_that_had_learned_nothing_leaves_no_positives(tmp_path: Path, shapes: Path) -> None:
    output = tmp_path / "out"
    left = output / "shapes" / "0.5-epochs" / "paa" / "seed-0"
    left.mkdir(parents=True)
    line = {"step": 9, "objects": [1] * 5, "without": [0] * 5, "positives": [[1] * 5] * 5}
    (left / "positives.jsonl").write_text(json.dumps(line) + "\n")
    results = run_study(small_study(tmp_path, shapes, PAA), output, CPU)
    assert [line["step"] for line in results.cells[0].positives] == [1, 2]


def test_a_study_may_be_moved_with_its_recipe(tmp_path: Path, shapes: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (here / "mine.json").write_text(json.dumps({"schedule": {"lr": 0.001}}))
    run_study(small_study(here, shapes, PAA, recipe="'mine.json'"), here / "out", CPU)
    here.rename(there)
    terms = there / "out" / "terms.json"
    assert '"mine.json with the SHA-256"' in terms.read_text()
    moved = small_study(there, shapes, PAA, recipe="'mine.json'")
    assert len(run_study(moved, there / "out", CPU, kill_at(1)).cells) == 1
    terms.write_text(terms.read_text().replace('"mine.json', f'"{there}/mine.json'))  # as an earlier version noted it
    assert len(run_study(moved, there / "out", CPU, kill_at(1)).cells) == 1
    (there / "mine.json").write_text(json.dumps({"schedule": {"lr": 0.002}}))
    with pytest.raises(ConfigError, match=r"cells that were run with mine\.json with the SHA-256"):
        run_study(moved, there / "out", CPU)


def test_a_mended_rule_is_compared_anew(tmp_path: Path, shapes: Path) -> None:
    """Its text is as before, and its cell had failed before it learned anything."""
    file, output = tmp_path / "rules.py", tmp_path / "out"
    fewer = "    return PaaAssigner(per_level=1)(outputs, anchors, *given)"
    file.write_text(OWN + LATE_FAULT + fewer)
    rules = PAA + '[[rules]]\nname = "mine"\nassigner = "rules.py:mine"\n'
    study = small_study(tmp_path, shapes, rules)
    results = run_study(study, output, CPU)
    assert len(results.failed) == 1
    before = results.comparisons[0].found.positives["mine"]
    file.write_text(OWN + LATE_FAULT.replace("len(outputs.iou_logits) == 2", "False") + fewer.replace("=1", "=9"))
    results = run_study(_read_again(study), output, CPU)
    assert results.failed == {}
    after = results.comparisons[0].found.positives
    assert before < after["mine"] == after["paa"]


def test_a_cell_without_memory_does_not_stop_the_others(
    tmp_path: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_memory(*given: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("paa.study.run.compare_on", no_memory)
    results = run_study(small_study(tmp_path, shapes, PAA + ATSS), tmp_path / "out", CPU)
    assert len(results.cells) == 2
    assert "rules are not compared on the model of paa on shapes, 0.5 epochs, seed 0: OutOfMemoryError" in caplog.text


def test_results_of_others_are_never_overwritten(tmp_path: Path, shapes: Path) -> None:
    output = tmp_path / "evaluation"
    output.mkdir()
    (output / "results.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"has a results\.json that is no study's; give another --output"):
        run_study(small_study(tmp_path, shapes, PAA), output, CPU)
    assert (output / "results.json").read_text() == "[]"


def test_what_no_cell_could_run_with_is_said_first(
    tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    with pytest.raises(ConfigError, match=r"small\.toml: rule atss: .*has no parameter 'radius'; known: per_level"):
        run_study(small_study(tmp_path, shapes, '[[rules]]\nassigner = "atss"\nradius = 3\n'), output, CPU)
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        run_study(small_study(tmp_path, tmp_path / "nowhere", PAA), output, CPU)
    with pytest.raises(ConfigError, match=r"schedule\.epochs must be above 0"):
        run_study(small_study(tmp_path, shapes, PAA, epochs="[-1]"), output, CPU)
    tiles = "[augment.tiles]\nsize = 64\n"
    with pytest.raises(ConfigError, match=r"small\.toml: augment\.tiles: a study tests on whole images"):
        run_study(small_study(tmp_path, shapes, PAA + tiles), output, CPU)
    with pytest.raises(PaaError, match=r"nope\.pt"):
        run_study(small_study(tmp_path, shapes, PAA, batch_size="2\ninit = 'nope.pt'"), output, CPU)
    with pytest.raises(ConfigError, match=r"small\.toml: batch_size must be at least 1|small\.toml: .*batch"):
        run_study(small_study(tmp_path, shapes, PAA, batch_size="0"), output, CPU)
    device = small_study(tmp_path, shapes, PAA).file
    device.write_text(device.read_text().replace('device = "cpu"', "device = true"))
    with pytest.raises(SystemExit):
        main(["study", str(device), "--output", str(output)])
    assert "runtime.device: expected a text, as 'cuda', got True" in capsys.readouterr().err
    assert not output.exists()


def test_the_size_of_images_is_limited_as_for_a_run(
    monkeypatch: pytest.MonkeyPatch, shapes: Path, tmp_path: Path, micro: Micro
) -> None:
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "")  # what it is set back to
    with pytest.raises(ImageError, match="more than the limit of 100"):
        read_splits(micro(tmp_path / "run", data={"max_pixels": 100}))


def test_a_signal_ends_it_before_the_first_cell(tmp_path: Path, shapes: Path) -> None:
    signals = StopSignals()
    signals.received = signal.SIGTERM
    with pytest.raises(StoppedError):
        run_study(small_study(tmp_path, shapes, PAA), tmp_path / "out", CPU, ignore, signals)
    assert not (tmp_path / "out").exists()
