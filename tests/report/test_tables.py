import io

import numpy as np
import pytest
from rich.console import Console

from paa.evaluation.metrics import SUMMARY_NAMES, ClassMetrics, CocoMetrics
from paa.evaluation.operating_point import ClassCurve, OperatingPoint
from paa.report.console import make_console
from paa.report.tables import class_rows, markdown_table, operating_point_rows, rich_table, summary_rows

LONG = "a class with a rather long name \\[bold]|"


def metrics():
    summary = {name: i / 12 for i, name in enumerate(SUMMARY_NAMES)}
    classes = (ClassMetrics("cat", 12345, 0.4567, 0.6), ClassMetrics(LONG, 0, None, None))
    return CocoMetrics({**summary, "APs": None}, classes)


def curves():
    points = np.array([1.0, 0.5]), np.array([0.5, 0.5])
    return [
        ClassCurve("cat", 2, np.array([0.9, 0.8]), *points, 0.5, 0.3, OperatingPoint(0.9, 1.0, 0.5)),
        ClassCurve(LONG, 0, np.zeros(0), np.zeros(0), np.zeros(0), None, None, None),
        ClassCurve("dog", 3, np.zeros(0), np.zeros(0), np.zeros(0), 0.0, 0.0, None),
    ]


def printed(rows, width=80):
    out = io.StringIO()
    Console(file=out, width=width).print(rich_table(rows, title="A title"))
    return out.getvalue()


ALL_ROWS = [summary_rows(metrics()), class_rows(metrics()), operating_point_rows(curves())]


def test_values_are_percent_and_undefined_is_a_dash():
    values = {row["measure"]: row["value"] for row in summary_rows(metrics())}
    assert list(values) == list(SUMMARY_NAMES)
    assert (values["AP50"], values["APs"]) == ("8.3", "-")
    assert class_rows(metrics())[0] == {"class": "cat", "objects": "12345", "AP": "45.7", "AP50": "60.0"}
    assert class_rows(metrics())[1]["AP"] == "-"


def test_operating_points_and_their_means():
    cat, _, dog, mean = operating_point_rows(curves())
    assert list(cat.values()) == ["cat", "2", "50.0", "0.900", "100.0", "50.0", "50.0", "100.0"]
    assert list(dog.values()) == ["dog", "3", "0.0", "-", "-", "-", "-", "-"]
    assert mean["AP"] == "25.0"  # of the two classes that have objects


@pytest.mark.parametrize("rows", ALL_ROWS)
def test_eighty_columns_hold_every_number_whole(rows):
    text = printed(rows)
    assert max(map(len, text.splitlines())) <= 80
    for row in rows:
        for key, value in row.items():
            if key not in ("class", "meaning"):
                assert value in text
                assert key in text


def test_a_class_name_is_printed_as_it_is(capsys):
    assert LONG in printed(class_rows(metrics()), width=120)
    make_console().print(rich_table([{"class": ":car: and [red]x"}], title=":bus:"))
    said = capsys.readouterr().out
    assert ":car: and [red]x" in said
    assert ":bus:" in said


@pytest.mark.parametrize("rows", ALL_ROWS)
def test_markdown_has_the_same_cells(rows):
    header, rule, *lines = markdown_table(rows).splitlines()
    assert len({len(text) for text in (header, rule, *lines)}) == 1

    def cells(text):
        return [cell.strip().replace("\\|", "|") for cell in text.replace("\\|", "\0").strip("|").split("|")]

    assert cells(header) == list(rows[0])
    for text, row in zip(lines, rows):
        assert [cell.replace("\0", "|") for cell in cells(text)] == list(row.values())


def test_a_line_break_in_a_class_name_stays_in_its_row():
    assert markdown_table([{"class": "a|b\nc", "AP": "1.0"}]).splitlines()[2:] == ["| a\\|b\\nc | 1.0 |"]


def test_no_rows_make_an_empty_table():
    assert markdown_table([]) == ""
    assert printed([]).strip() == ""
