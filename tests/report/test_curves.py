import json

import numpy as np
import pytest
from PIL import Image

from paa.errors import RunError
from paa.evaluation.operating_point import ClassCurve, average_precision, best_point
from paa.report.curves import precision_recall_curves, training_curves


def curve(name, objects=50, found=100, seed=0):
    rng = np.random.default_rng(seed)
    right = np.cumsum((rng.random(found) < np.linspace(1, 0, found)) & (np.arange(found) < objects))
    precision, recall = right / np.arange(1, found + 1), right / max(objects, 1)
    scores = np.linspace(1, 0.01, found)
    ap = average_precision(precision, recall) if objects else None
    return ClassCurve(name, objects, scores, precision, recall, ap, ap, best_point(scores, precision, recall))


def line(step, **changed):
    values = {"step": step, "loss": 3.0, "loss_classification": 1.0, "loss_box": 1.5, "loss_iou": 0.5, "lr": 0.01}
    return json.dumps({**values, **changed})


def size(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return image.size


def test_classes_make_a_grid_and_odd_names_do_no_harm(tmp_path):
    curves = [curve("cat"), curve("$x_", seed=1), curve("none found", found=0), curve("no objects", objects=0)]
    precision_recall_curves(curves, tmp_path / "new" / "three.png")
    precision_recall_curves(curves[:1], tmp_path / "one.png")
    assert size(tmp_path / "new" / "three.png")[0] > 2 * size(tmp_path / "one.png")[0] * 0.9
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["three.png"]


def test_characters_that_no_font_has(tmp_path, caplog, recwarn):
    precision_recall_curves([curve("\u6d63\u718a\ue000")], tmp_path / "curves.png")
    assert [str(warning.message) for warning in recwarn] == []
    (record,) = caplog.records
    assert "curves.png: matplotlib's fonts lack characters of the class names" in record.getMessage()


def test_many_classes_are_limited_to_those_with_the_most_objects(tmp_path):
    curves = [curve(str(i), objects=i + 1, found=5) for i in range(6)]
    precision_recall_curves(curves, tmp_path / "all.png")
    precision_recall_curves(curves, tmp_path / "some.png", most=2)
    assert size(tmp_path / "some.png") < size(tmp_path / "all.png")


def test_nothing_to_draw_is_explained(tmp_path):
    with pytest.raises(RunError, match="no objects"):
        precision_recall_curves([curve("a", objects=0)], tmp_path / "none.png")


def test_a_log_with_other_lines_and_a_broken_end(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text(
        "\n".join([line(0), '{"AP": 0.4}', line(50, loss=2.0), line(50, loss=1.0), "[1]", '{"step": 60, "l'])
    )
    training_curves(log, tmp_path / "training.png")
    assert size(tmp_path / "training.png")[0] > 800


def test_a_later_line_of_the_same_step_counts_and_one_without_a_loss_does_not(tmp_path):
    images = []
    for lines in ([line(0), line(25, loss=None, loss_box=None), line(50, loss=9.0), line(50)], [line(0), line(50)]):
        log = tmp_path / "log.jsonl"
        log.write_text("\n".join(lines))
        training_curves(log, tmp_path / "training.png")
        images.append(np.asarray(Image.open(tmp_path / "training.png")))
    np.testing.assert_array_equal(*images)


def test_a_log_without_steps_is_explained(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"AP": 0.4}\n')
    with pytest.raises(RunError, match=r"log\.jsonl: has no training steps"):
        training_curves(log, tmp_path / "training.png")


@pytest.mark.slow
def test_no_global_state_of_pyplot_is_touched():
    import subprocess
    import sys

    code = "import sys, paa.report.curves; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
