"""The results of a study as documents: means, intervals, differences; a page that needs nothing but itself."""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec
import pytest

from paa.report.html.study_page import study_page
from paa.report.study import study_dict, study_markdown
from paa.report.study_tables import ONE_SEED, study_tables
from paa.study.results import Results
from tests.study.studies import made_up

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
