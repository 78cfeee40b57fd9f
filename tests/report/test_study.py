"""The results of a study as documents: means, intervals, differences; a page that needs nothing but itself."""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec
import pytest

from paa.report.html.study_page import study_page
from paa.report.study import study_dict, study_markdown
from paa.report.study_tables import ONE_SEED, mean_parts_rows, study_tables
from paa.study.results import Results
from tests.study.studies import made_up

PARTS = ("neither", "voting", "IoU prediction", "both")
THREE = made_up({"paa": [0.40, 0.44, 0.42], "atss": [0.39, 0.41, 0.40]})


def test_means_intervals_and_paired_differences() -> None:
    numbers = study_tables(THREE)[0]
    first, second = numbers.rows
    assert (first["AP"], first["difference"]) == ("42.0 (37.0 to 47.0)", "")
    assert (second["AP"], second["difference"]) == ("40.0 (37.5 to 42.5)", "-2.0 (-4.5 to +0.5)")
    assert first["APs"] == "-"
    assert first["seeds"] == "3"
    assert ONE_SEED not in numbers.note


def test_differences_are_of_the_seeds_that_both_have() -> None:
    numbers = study_tables(made_up({"paa": [0.40, 0.44], "atss": [0.39]}))[0]
    assert numbers.rows[1]["difference"] == "-1.0"
    assert numbers.rows[1]["AP"] == "39.0"
    assert ONE_SEED in numbers.note


def test_means_over_data_sets_are_of_seeds_finished_on_all() -> None:
    here = made_up({"paa": [0.4, 0.5], "atss": [0.5, 0.6]}, "a")
    there = made_up({"paa": [0.3, 0.4], "atss": [0.6]}, "b")
    results = replace(here, data={**here.data, **there.data}, cells=[*here.cells, *there.cells])
    ap, means = study_tables(results)[:2]
    assert (ap.title, means.title) == ("AP", "Mean AP over the data sets, 12 epochs")
    assert ap.rows[1]["b, 12"] == "60.0"
    assert means.rows == [
        {"rule": "paa", "seeds": "2", "mean AP": "40.0 (-23.5 to 103.5)", "difference": ""},
        {"rule": "atss", "seeds": "1", "mean AP": "55.0", "difference": "+20.0"},
    ]
    lines = study_dict(results)["means_over_data"]
    assert [(line["rule"], line["mean"]["mean"], line["mean"]["count"]) for line in lines] == [
        ("paa", pytest.approx(0.4), 2),
        ("atss", pytest.approx(0.55), 1),
    ]
    assert (lines[0]["difference"], lines[1]["difference"]["mean"]) == (None, pytest.approx(0.2))
    assert mean_parts_rows(results, 12)[1] == {"rule": "atss"} | dict.fromkeys(PARTS, "55.0")
    unfinished = replace(results, data={**results.data, "c": {}})
    assert not [table for table in study_tables(unfinished) if table.title.startswith("Mean")]


def test_positives_over_training() -> None:
    (table,) = [table for table in study_tables(THREE) if table.title.startswith("Positives of an object")]
    row = table.rows[0]
    assert row["all"] == "11.0 to 21.0"
    assert (row["below 16"], row["16 to 32"], row["none"]) == ("-", "11.0 to 21.0", "16.7")
    (levels,) = [table for table in study_tables(THREE) if table.title.startswith("Positives by level")]
    assert (levels.rows[0]["P6"], levels.rows[0]["P7"]) == ("93.8", "6.2")  # these have two levels


def test_json_is_read_back() -> None:
    written = msgspec.json.encode(study_dict(THREE))
    assert msgspec.json.decode(written, type=Results) == THREE
    summary = study_dict(THREE)["summary"]
    assert summary[1]["differences"]["AP"]["mean"] == pytest.approx(-0.02)
    assert summary[0]["differences"]["AP"] is None


def test_the_page_needs_nothing_but_itself_and_escapes_names() -> None:
    page = study_page(THREE)
    assert "cells &amp; &lt;b&gt;" in page
    assert "<b>, 12 epochs" not in page
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)", page)
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<polyline") == 2
    assert 'class="whisker"' in page


def test_what_is_missing_or_failed_is_said() -> None:
    results = replace(THREE, missing=["a", "b"], failed={"c": "a reason"})
    text = study_markdown(results)
    assert "6 of 9 runs are finished, 1 failed." in text
    assert "Failed: c: a reason" in text
    nothing = replace(THREE, cells=[], missing=["a"])
    assert "0 of 1 runs are finished." in study_markdown(nothing)
    assert "0 of 1 runs are finished." in study_page(nothing)
