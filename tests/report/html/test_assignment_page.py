"""The page of an assignment: what it holds, that it escapes names, and that a browser opens it without a request."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paa.data.read import read_dataset
from paa.explanation.objects import ObjectAssignment
from paa.explanation.summary import summarise
from paa.report.explanation import Explained
from paa.report.html.assignment_page import assignment_page, write_assignment_page
from tests.browser import chromium, console_lines, requests
from tests.explanation.objects import alternative, make_object
from tests.report.html.test_page import EVIL

OUTSIDE = replace(make_object(0, 0), box=np.array([3000, -90, 3020, -70], np.float32), best_overlap=0.0)
OBJECTS = [
    OUTSIDE,
    replace(make_object(1, 1), mixture=None),
    make_object(2, 9, what_if={"atss": alternative(3, 1)}),
    make_object(9, 20, seed=1),
    make_object(30, 45, seed=2, label=1),
]


def explained(shapes: Path, objects: list[ObjectAssignment]) -> Explained:
    index = replace(read_dataset(shapes), names=EVIL)
    about = ("runs/<b>/best.pt", "data & more", "val", "paa")
    return Explained(*about, index, len(index), 2, summarise(objects), objects)


def test_each_object_is_drawn(shapes: Path) -> None:
    page = assignment_page(explained(shapes, OBJECTS))
    assert page.count('<figure class="object">') == len(OBJECTS)
    candidates = sum(len(one.candidates) for one in OBJECTS)
    positives = sum(one.positives for one in OBJECTS)
    assert len(re.findall(r'<circle class="mark l\d (?:positive|negative)" cx', page)) == 2 * candidates
    assert len(re.findall(r'<rect class="anchor l\d positive"', page)) == positives
    assert page.count('<path class="gaussian"') == sum(one.mixture is not None for one in OBJECTS)
    assert page.count("data:image/jpeg") == len(OBJECTS)
    assert "No anchor is a candidate" in page
    assert "atss: 3 (1)" in page


def test_names_are_escaped_and_nothing_is_fetched(shapes: Path) -> None:
    page = assignment_page(explained(shapes, OBJECTS))
    assert "<b>/best" not in page
    assert all(name not in page for name in EVIL if "<" in name)
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)


def test_a_page_is_small(shapes: Path) -> None:
    """Of 200 objects with all 45 candidates, less than 8 MB."""
    one = len(assignment_page(explained(shapes, [make_object(30, 45, seed=2)])))
    two = len(assignment_page(explained(shapes, [make_object(30, 45, seed=2)] * 2)))
    assert 0 < two - one < 40_000


@pytest.mark.slow
@pytest.mark.parametrize("objects", [OBJECTS, []], ids=["objects", "nothing"])
def test_it_opens_without_errors_and_asks_for_nothing(
    tmp_path: Path, shapes: Path, objects: list[ObjectAssignment]
) -> None:
    write_assignment_page(tmp_path / "assignment.html", explained(shapes, objects))
    address = (tmp_path / "assignment.html").as_uri()
    with chromium(width=390, dark=True) as chrome:
        chrome.get(address)
        assert console_lines(chrome) == []
        assert requests(chrome) == {address}
        page = "document.documentElement"
        assert chrome.execute_script(f"return {page}.scrollWidth <= {page}.clientWidth")
        assert chrome.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
        shown = """
            const anchors = [...document.querySelectorAll('.anchor.negative')];
            return anchors.filter(anchor => getComputedStyle(anchor).display !== 'none').length;
        """
        assert chrome.execute_script(shown) == 0
        chrome.execute_script("document.querySelector('#all-anchors').click()")
        assert chrome.execute_script(shown) == sum(len(one.candidates) - one.positives for one in objects)
        titles = "return [...document.querySelectorAll('.scores .mark')].filter(m => !m.querySelector('title')).length"
        assert chrome.execute_script(titles) == 0
        assert console_lines(chrome) == []
