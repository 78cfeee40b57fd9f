"""Tables and JSON of an analysis and a comparison."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from paa.evaluation.analysis import Analysis, analyse
from paa.evaluation.comparison import compare
from paa.evaluation.dataset import EvaluatedDataset
from paa.evaluation.metrics import evaluate
from paa.evaluation.predicted_iou import IouBin, PredictedIou
from paa.inference.table import DetectionTable
from paa.report.analysis_json import analysis_dict, comparison_dict
from paa.report.analysis_tables import analysis_tables, comparison_tables
from paa.report.tables import percent, rich_table
from tests.evaluation.coco_sets import make_index, random_set

PREDICTED = PredictedIou(7, 0.125, 0.5, (IouBin(0.0, 0.5, 0, 0.0, 0.0), IouBin(0.5, 1.0, 3, 0.75, 0.5)))


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    index, table = random_set(0, images=40)
    return analyse(EvaluatedDataset(index, table, evaluate(index, table), []), 30, PREDICTED)


def test_every_table_fits_eighty_columns(analysis: Analysis) -> None:
    tables = analysis_tables(analysis)
    tables += comparison_tables(compare(evaluate(*random_set(0)), evaluate(*random_set(0)), 10), "other.json")
    assert len(tables) == 10
    for title, rows in tables:
        assert title
        out = io.StringIO()
        Console(file=out, width=80).print(rich_table(rows))
        assert max(map(len, out.getvalue().splitlines())) <= 80, title
        assert all(list(row) == list(rows[0]) for row in rows)


def test_the_tables_have_the_numbers_of_the_analysis(analysis: Analysis) -> None:
    tables = dict(analysis_tables(analysis))
    sizes = tables["objects by size: the square root of the area, in pixels"]
    assert [row["AP"] for row in sizes] == [percent(size.ap) for size in analysis.sizes]
    (predicted,) = (rows for title, rows in tables.items() if title.startswith("predicted against true IoU in 7"))
    assert predicted == [{"IoU": "0.5 to 1.0", "boxes": "3", "mean predicted": "75.0", "mean true": "50.0"}]
    (errors,) = (rows for title, rows in tables.items() if title.startswith("kinds of errors"))
    assert [row["error"] for row in errors][-2:] == ["all wrong", "all missed"]
    assert all(len(rows) <= 10 for title, rows in tables.items())


def test_what_is_not_defined_has_no_table() -> None:
    index = make_index([], images=2, classes=1)
    nothing = DetectionTable.concatenate([])
    assert analysis_tables(analyse(EvaluatedDataset(index, nothing, evaluate(index, nothing), []), 5)) == []


def test_json_holds_all_of_it(analysis: Analysis) -> None:
    content = analysis_dict(analysis)
    assert json.loads(json.dumps(content, allow_nan=False)).keys() == content.keys()
    assert content["intervals"]["draws"] == 30
    assert content["intervals"]["AP"] == analysis.intervals.measures["AP"]  # type: ignore[union-attr]
    assert list(content["intervals"]["classes"]) == list(analysis.chosen.index.names)
    assert [size["objects"] for size in content["sizes"]] == [size.objects for size in analysis.sizes]
    assert sum(map(sum, content["confusion"]["matrix"])) == analysis.confusion.counts.sum()
    assert content["predicted_iou"]["bins"][1]["true"] == 0.5
    assert len(content["images"]) == 40
    first = content["label_errors"][0]
    assert first["found"] in analysis.chosen.index.names
    assert first["score"] == max(error["score"] for error in content["label_errors"])
    assert len(content["unseen"]) == len(analysis.unseen) > 0
    assert content["unseen"][0].keys() == {"file", "annotated", "box", "overlap", "found", "score"}


def test_json_of_a_comparison() -> None:
    index, table = random_set(0)
    half = table.select(table.scores > 0.5)
    content = comparison_dict(compare(evaluate(index, table), evaluate(index, half), 30))
    assert json.loads(json.dumps(content, allow_nan=False)).keys() == content.keys()
    assert content["AR100"]["verdict"] == "better"
    assert content["classes"]["class 3"]["verdict"] == "undefined"
    assert content["classes"]["class 3"]["interval"] is None
