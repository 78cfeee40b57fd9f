"""What is on the page, read as HTML: every section, every name escaped, nothing from elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from paa.evaluation.metrics import evaluate
from paa.inference.table import DetectionTable
from paa.report.html.page import page
from paa.report.tables import percent
from tests.report.html.reports import make_report, near_truth, shapes_index

EVIL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }} & 'co'", "猫 </style>")
VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """The elements of a page, and its text outside of styles and scripts; fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.text += data

    def count(self, tag: str, **attributes: str) -> int:
        wanted = {name.strip("_"): value for name, value in attributes.items()}
        return sum(
            tag == own and all((attrs.get(name) or "").split()[:1] == [value] for name, value in wanted.items())
            for own, attrs in self.elements
        )


def test_every_section_is_there(shapes: Path) -> None:
    index = shapes_index(shapes)
    report = make_report(index, near_truth(index), near_truth(index, seed=1))
    found = Page(page(report))
    links = [attrs["href"] for tag, attrs in found.elements if tag == "a"]
    sections = [f"#{attrs['id']}" for tag, attrs in found.elements if tag == "section"]
    assert links == sections
    assert len(sections) == 9
    for value in (report.evaluated.metrics["AP"], report.evaluated.metrics["AP75"]):
        assert percent(value) in found.text
    for name in ("circle", "square", "triangle", "star", "runs/a/best.pt", "a/best.pt", "b/best.pt"):
        assert name in found.text
    assert found.count("path", class_="curve") == 4
    assert "AP of circle" in found.text
    assert found.count("svg", class_="matrix") == 1
    assert found.count("g", class_="box") > 40
    assert found.count("figure", class_="photo") > 10


def test_without_a_comparison_there_is_no_section_of_it(shapes: Path) -> None:
    index = shapes_index(shapes)
    found = Page(page(make_report(index, near_truth(index))))
    assert "#against" not in [attrs.get("href") for _, attrs in found.elements]
    assert "verdict" not in found.text


def test_names_are_escaped(shapes: Path) -> None:
    index = shapes_index(shapes, EVIL)
    names = [f"<b onclick=x>{i}'\".jpg".encode() for i in range(len(index))]
    index = replace(index, file_names=np.array(names))
    report = make_report(index, near_truth(index), near_truth(index, seed=1), what='<i title="')
    found = Page(page(report))
    assert not [tag for tag, _ in found.elements if tag in ("b", "i") and "onclick" in str(_)]
    assert found.count("script") == 1
    assert found.count("style") == 1
    assert found.count("img") == 0
    for name in EVIL:
        assert name in found.text
    assert "<b onclick=x>0'\".jpg" in found.text
    assert '<i title="' in found.text


def test_nothing_comes_from_elsewhere(shapes: Path) -> None:
    index = shapes_index(shapes)
    text = page(make_report(index, near_truth(index)))
    found = Page(text)
    for _, attrs in found.elements:
        for name in ("href", "src", "xlink:href", "srcset", "action"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), attrs
    without_images = re.sub(r"data:[\w/;,+=]+", "", text)
    assert not re.findall(r"https?:|url\(|@import", without_images)
    assert len(text) < 700_000


def test_images_that_cannot_be_read_are_left_out(tmp_path: Path, shapes: Path) -> None:
    index = replace(shapes_index(shapes), root=tmp_path)
    found = Page(page(make_report(index, near_truth(index))))
    assert found.count("figure", class_="photo") == 0
    assert "Annotations to check" in found.text
    assert "worst" in found.text


def test_nothing_found_and_nothing_to_find(shapes: Path) -> None:
    index = shapes_index(shapes)
    nothing = DetectionTable.concatenate([])
    empty = {name: getattr(index, name)[:0] for name in ("boxes", "labels", "crowd", "areas")}
    without = replace(index, **empty, offsets=np.zeros_like(index.offsets))
    for made, table in ((index, nothing), (without, nothing), (without, near_truth(index))):
        report = make_report(made, table, table)
        found = Page(page(report))
        links = [attrs["href"] for tag, attrs in found.elements if tag == "a"]
        assert links == [f"#{attrs['id']}" for tag, attrs in found.elements if tag == "section"]
        assert "nan" not in found.text.lower()
        assert percent(evaluate(made, table).metrics["AP"]) in found.text


def test_many_classes(shapes: Path) -> None:
    index = shapes_index(shapes)
    random = np.random.default_rng(0)
    names = tuple(f"class {i} with quite a long name" for i in range(60))
    labels = random.permutation(60)[: len(index.labels)]
    many = replace(index, names=names, category_ids=np.arange(60), labels=labels)
    table = near_truth(index)
    detections = replace(table, labels=np.where(random.random(len(table)) < 0.5, np.tile(labels, 2), 0))
    found = Page(page(make_report(many, detections)))
    assert found.count("path", class_="curve") <= 24
    assert len(names) == 60
    assert found.text.count(names[labels[0]]) > 2
