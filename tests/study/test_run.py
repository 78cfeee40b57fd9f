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
