"""The benchmarks run, and their page says what their lines say. No test here depends on a measured time."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(FOLDER))  # as for a script in that folder

import assignment  # noqa: E402
import evaluation  # noqa: E402
import goals  # noqa: E402
import inference  # noqa: E402
import machine  # noqa: E402
import network  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402
import scenes  # noqa: E402
import timing  # noqa: E402

MACHINE = {"cpu": "Some CPU", "instructions": ["avx2"], "cores": 2, "memory_gib": 24, "python": "3.11.7"}
RUN = {"run": "made_up", "command": "benchmarks/made_up.py", "commit": "abc", "date": "2026-01-02", "load": 0.3}
RUN |= {"took_s": 61}


def compared(benchmark: str, case: str, ratio: float, peer: str = "loop") -> dict[str, Any]:
    line = {"benchmark": benchmark, "case": case, "ours_s": ratio, "peer": peer, "peer_s": 1.0}
    return line | {"ratio": ratio, "spread": [ratio / 2, 2 * ratio]}


def growth(n: int, seconds: float, **more: Any) -> dict[str, Any]:
    return {"benchmark": "made_up", "case": "growth: things", "x": "objects", "n": n, "seconds": seconds, **more}


def row(page: str, start: str) -> list[str]:
    """Return the cells of the page's only row that begins with `start`."""
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of docs/."""
    (tmp_path / "benchmarks-notes.md").write_text("## What the limit is\n\nNothing.\n")
    names = {"CPU_FILE": "benchmarks.jsonl", "GPU_FILE": "benchmarks-cuda.jsonl", "NOTES": "benchmarks-notes.md"}
    monkeypatch.setattr(report, "DOCS", tmp_path)
    for name, file in names.items():
        monkeypatch.setattr(report, name, tmp_path / file)
    return tmp_path


def test_goals_are_met_missed_or_not_measured() -> None:
    lines = [compared("assignment", "mixture 7 objects", 1 / 27), compared("assignment", "mixture 20 objects", 1 / 39)]
    kernel = {
        "benchmark": "assignment",
        "case": "kernel 16 x 8 objects",
        "device_s": 0.0002,
        "spread": [0.0001, 0.0003],
    }
    cpu, gpu = report.Measurements(MACHINE, lines), report.Measurements(MACHINE | {"gpu": "A GPU"}, [kernel])
    page = report.page(cpu, gpu, "")
    assert row(page, "mixture fitting, 2 × 7")[1:] == ["≥ 20×", "27×, met", "", ""]
    assert row(page, "mixture fitting, 2 × 20")[1:] == ["≥ 40×", "39×, **missed**", "", ""]
    assert row(page, "mixture fitting, 2 × 60")[1:] == ["≥ 80×", "", "", ""]
    assert row(page, "mixture fitting, 16 × 8")[1:] == ["", "", "≤ 300 µs", "200 µs, met"]
    assert row(page, "evaluation, 5,000")[1:] == ["≥ 10×", "", "", ""]


def test_a_goal_takes_the_worst_of_the_lines_that_it_names() -> None:
    target = goals.Target("some", "case.*", "ratio", 0.5, "ratio", peer="slow.*")
    lines = [compared("some", "case 1", 0.3, "slow"), compared("some", "case 2", 0.4, "slower")]
    others = [compared("some", "case 3", 0.9, "fast"), compared("some", "a case", 0.9, "slow"), growth(3, 1.0), RUN]
    assert target.measured([*others, *lines]) == 0.4
    assert target.measured(others) is None


def test_every_goal_names_a_benchmark_once() -> None:
    assert len({goal.question for goal in goals.GOALS}) == len(goals.GOALS)
    assert all(goal.cpu or goal.gpu for goal in goals.GOALS)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_slope_of_a_power_is_its_exponent(power: float) -> None:
    n = [1, 10, 100, 1000, 10_000, 100_000]
    part = report.upper_part(n, [3 * k**power for k in n])
    assert part is not None
    assert np.exp(part[0]).round().tolist() == [1000, 10_000, 100_000]
    assert report.slope(*part) == pytest.approx(power, abs=1e-9)


def test_slope_takes_at_least_three_points() -> None:
    assert report.upper_part([10, 20], [1, 2]) is None
    part = report.upper_part([10, 11, 1000], [1, 2, 3])
    assert part is not None
    assert len(part[0]) == 3


@pytest.mark.parametrize(("power", "verdict"), [(0.3, "yes"), (1.0, "yes"), (1.5, "**no**"), (2.0, "**no**")])
def test_growth_is_held_against_n_log_n(power: float, verdict: str) -> None:
    lines = [growth(n, n**power) for n in (10, 100, 1000, 10_000)]
    (cells,) = report.growth_rows(report.curves(lines))
    assert cells[-1] == verdict


def test_n_log_n_itself_is_no_faster_and_a_peer_is_not_judged() -> None:
    numbers = (10, 100, 1000, 10_000)
    lines = [growth(n, n * np.log(n)) for n in numbers] + [growth(n, n**3, peer="loop") for n in numbers]
    ours, peer = report.growth_rows(report.curves(lines))
    assert (ours[-1], peer[-1]) == ("yes", "")
    assert ours[3] == ours[4]


def test_curves_are_read_from_both_sorts_of_lines() -> None:
    apart = [growth(2, 0.2, peak_mb=5.0), growth(1, 0.1, peak_mb=0.0), growth(1, 0.3, peer="loop")]
    both = [{"benchmark": "b", "case": "classes", "n": 3, "ours_s": 0.1, "peer": "nms", "peer_s": 0.4, "ratio": 0.25}]
    found = [(c.benchmark, c.name, c.peer, c.what, c.n, c.values) for c in report.curves([*apart, *both, RUN])]
    assert found == [
        ("made_up", "things", "", "seconds", [1, 2], [0.1, 0.2]),
        ("made_up", "things", "", "MB", [2], [5.0]),  # 0 MB is too little to measure
        ("made_up", "things", "loop", "seconds", [1], [0.3]),
        ("b", "classes", "", "seconds", [3], [0.1]),
        ("b", "classes", "nms", "seconds", [3], [0.4]),
    ]


def test_the_page_and_the_plots_are_written(docs: Path) -> None:
    lines = [
        RUN,
        compared("made_up", "all | of it", 0.04),
        {"benchmark": "made_up", "case": "rate", "ours_per_s": 12.3},
    ]
    lines += [growth(n, n / 100, peak_mb=n) for n in (1, 10, 100, 1000)]
    lines += [growth(n, n, x="classes") for n in (1, 10, 100)]
    report.write_lines(report.CPU_FILE, MACHINE, lines)
    read = report.read(report.CPU_FILE)
    assert read == report.Measurements(MACHINE, lines)
    report.write()
    page = (docs / "benchmarks.md").read_text()
    assert row(page, "CPU") == ["CPU", "Some CPU"]
    assert row(page, "`benchmarks/made_up.py`")[1:] == ["abc", "2026-01-02", "61 s", "0.3"]
    assert "| all \\| of it | 40 ms | loop | 1 s | 0.04 (1/25) | 0.02 to 0.08 |" in page
    assert "| rate | 12.3 |" in page
    assert page.endswith("## What the limit is\n\nNothing.\n")
    for name in ("growth-made_up-objects.png", "growth-made_up-classes.png"):
        assert (docs / "images" / name).read_bytes().startswith(b"\x89PNG")
        assert f"(images/{name})" in page
    assert "On the GPU" not in page


def test_the_page_in_docs_is_up_to_date() -> None:
    assert (report.DOCS / "benchmarks.md").read_text() == report.page(
        report.read(report.CPU_FILE), report.read(report.GPU_FILE), report.NOTES.read_text()
    ), "python benchmarks/report.py writes it anew"


def test_the_machine_is_described() -> None:
    described = machine.describe("cpu")
    assert {"cpu", "instructions", "cores", "memory_gib", "os", "python", "torch", "torchvision"} == described.keys()
    assert json.loads(json.dumps(described)) == described
    assert machine.commit()


def test_lines_of_one_script_are_replaced() -> None:
    kept = [{"run": "a"}, {"benchmark": "a", "case": "1"}, {"run": "b"}, {"benchmark": "b", "case": "1"}]
    new = [{"run": "a"}, {"benchmark": "a", "case": "2"}]
    assert run.replace(kept, "a", new) == [*new, *kept[2:]]
    assert run.replace(kept, "c", [{"run": "c"}]) == [*kept, {"run": "c"}]


def test_running_some_keeps_the_others_and_a_failure_its_old_lines(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    script = """
import json, sys
if __name__ == "__main__":
    print("words")
    print(json.dumps({"benchmark": "made up", "case": sys.argv[1]}))
"""
    (scripts / "good.py").write_text(script)
    (scripts / "bad.py").write_text(f"{script}    sys.exit('broken' if sys.argv[2:] else 0)")
    (scripts / "shared.py").write_text("")
    monkeypatch.setattr(run, "FOLDER", scripts)
    monkeypatch.setattr(run, "LOGS", tmp_path / "logs")

    def cases(*flags: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["run.py", *flags])
        try:
            run.main()
        finally:
            measured = report.read(report.CPU_FILE)
            assert measured is not None
            found = [line["case"] for line in measured.lines if "case" in line]
        return found

    assert cases("--first") == ["--first", "--first"]
    assert cases("--only", "good", "--second") == ["--first", "--second"]
    with pytest.raises(SystemExit, match="failed, and left as they were: bad"):
        cases("--third", "--fail")
    log = tmp_path / "logs" / "bad.log"
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if not line.startswith("== ")] == [f"error: bad: broken; all of it: {log}"]
    assert log.read_text() == "broken\n"
    assert list(log.parent.iterdir()) == [log]
    assert [line["case"] for line in report.read(report.CPU_FILE).lines if "case" in line] == ["--first", "--third"]

    monkeypatch.setattr(machine, "describe", lambda device: MACHINE)
    with pytest.raises(SystemExit, match=r"measured on another machine .*cpu .*, here Some CPU.*run all"):
        cases("--only", "good", "--fourth")
    assert cases("--fifth") == ["--fifth", "--fifth"]


@pytest.mark.parametrize(
    ("said", "code", "line"),
    [
        ("a warning\nTraceback (most recent call last):\n  x\nValueError: no\n", 1, "ValueError: no"),
        ("torch.Problem.Error: why\n\n  frames skipped:\n - a\n - b: RuntimeError: x\n", 1, "torch.Problem.Error: why"),
        ("paa: error: nothing there\n\n", 2, "paa: error: nothing there"),
        ("", 3, "exit code 3"),
        ("half a", -9, "ended by signal 9"),
        ("MemoryError\n", 1, "MemoryError"),
        ("KeyError: " + 500 * "x", 1, "KeyError: " + 147 * "x" + "..."),
    ],
)
def test_a_failure_is_one_line(said: str, code: int, line: str) -> None:
    assert run.how_it_failed(said, code) == line


def test_the_limit_counts_the_operations_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    matrix = torch.ones(1000, 1000)
    network.print_limit("made_up", "product", lambda: matrix @ matrix, 0.5, "cpu", torch.bfloat16)
    line = json.loads(capsys.readouterr().out)
    assert (line["case"], line["gflop"], line["measured_s"]) == ("limit: product", 2, 0.5)


def test_inference_counts_what_is_not_compiled(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """On a machine with bfloat16 the best settings compile, and compiled operations cannot be counted."""
    compiled: list[str] = []

    def compile_network(model: Any, compilation: str) -> None:
        compiled.append(compilation)
        if compilation != "off":
            forward = model.forward

            def run(*inputs: Any) -> Any:
                assert not torch.utils._python_dispatch._get_current_dispatch_mode_stack(), "counted when compiled"
                return forward(*inputs)

            monkeypatch.setattr(model, "forward", run)

    monkeypatch.setattr("paa.predictor.compile_network", compile_network)
    monkeypatch.setattr("paa.model.prepare.has_bfloat16", lambda device: True)
    monkeypatch.setattr(inference, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(network, "HEIGHT", 64)
    monkeypatch.setattr(network, "WIDTH", 96)
    lines = printed(inference, "--repeats 2", monkeypatch, capsys)
    limits = [line for line in lines if line["case"].startswith("limit: ")]
    assert [line["case"] for line in limits] == ["limit: best settings (bfloat16, compiled)", "limit: FCOS"]
    assert compiled == ["default", "off"]


def test_what_trains_for_hours_is_not_run_with_the_others() -> None:
    assert {"assignment", "inference", "training_step"} <= set(run.scripts())
    assert {"accuracy", "accuracy_report", "distillation", "elsewhere", "study", "tiles"}.isdisjoint(run.scripts())


@pytest.mark.parametrize("name", [*run.scripts(), "accuracy", "distillation", "elsewhere", "study", "tiles"])
def test_script_starts(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert "--device" in capsys.readouterr().out


def printed(module: ModuleType, flags: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> list[dict[str, Any]]:
    """Run a benchmark here, and return its lines."""
    monkeypatch.setattr(sys, "argv", ["script.py", "--threads", "1", *flags.split()])
    monkeypatch.setattr(timing, "threadpool_limits", lambda threads: None)  # it would hold for the tests after
    module.main()
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_assignment_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(scenes, "NUM_CLASSES", 3)
    monkeypatch.setattr(assignment, "OBJECTS", (2,))
    monkeypatch.setattr(assignment, "GROWTH", (1, 2))
    monkeypatch.setattr(assignment, "PEER_SECONDS", 0)
    lines = printed(assignment, "--repeats 2", monkeypatch, capsys)
    cases = ["mixture 2 objects", "loss 2 objects", "loss and gradient 2 objects"]
    assert [line["case"] for line in lines if "n" not in line] == cases
    curves = {(c.name, c.peer): c.n for c in report.curves(lines) if c.what == "seconds"}
    peer = assignment.PEER  # given up after its first
    expected = {("mixtures", ""): [1, 2], ("mixtures", peer): [1], ("losses", ""): [1, 2], ("losses", peer): [1]}
    assert curves == expected


def test_evaluation_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    draw = evaluation.draw
    monkeypatch.setattr(evaluation, "draw", lambda images: draw(min(images, 5)))
    monkeypatch.setattr(evaluation, "measure_apart", evaluation.measure)
    lines = printed(evaluation, "--repeats 2 --largest 100000 --peer-largest 10000", monkeypatch, capsys)
    names = list(evaluation.peers())
    assert [(line["case"], line.get("peer")) for line in lines if "n" not in line] == [
        *(("500 detections", name) for name in names),
        *(("memory of 10000 detections", name) for name in names),
    ]
    curves = {c.peer: c.n for c in report.curves(lines) if c.what == "seconds"}
    assert curves == {"": [10_000, 100_000], **{name: [10_000] for name in names}}
