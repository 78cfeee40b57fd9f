"""The page in a real browser: no console errors, no requests, sorting, enlarging, widths, light and dark."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paa.report.html.page import write_page
from tests.browser import chromium, console_lines, requests
from tests.report.html.reports import make_report, near_truth, shapes_index
from tests.report.html.test_page import EVIL


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> str:
    """Return the address of a report whose names are as bad as they can be."""
    index = shapes_index(shapes, EVIL)
    report = make_report(index, near_truth(index), near_truth(index, seed=1))
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, report)
    return path.as_uri()


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (390, True)])
def test_it_opens_without_errors_and_asks_for_nothing(address: str, width: int, dark: bool) -> None:
    with chromium(width=width, dark=dark) as chrome:
        chrome.get(address)
        assert console_lines(chrome) == []
        assert requests(chrome) == {address}
        page = "document.documentElement"
        assert chrome.execute_script(f"return {page}.scrollWidth <= {page}.clientWidth")
        paper = chrome.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
        broken = "return [...document.querySelectorAll('svg')].filter(s => s.clientWidth < 10 || s.clientHeight < 10)"
        assert chrome.execute_script(broken) == []
        text = chrome.execute_script("return document.body.innerText")
        assert all(name in text for name in EVIL)


def test_a_click_sorts_a_table(address: str) -> None:
    with chromium() as chrome:
        chrome.get(address)
        read = """
            const table = document.querySelectorAll('#numbers table')[1];
            const column = [...table.tHead.rows[0].cells].findIndex(c => c.textContent === arguments[0]);
            table.tHead.rows[0].cells[column].querySelector('button').click();
            return [...table.tBodies[0].rows].map(row => row.cells[column].textContent);
        """
        *down, mean = (float(value) for value in chrome.execute_script(read, "AP"))
        assert down == sorted(down, reverse=True)
        *up, same = (float(value) for value in chrome.execute_script(read, "AP"))
        assert up == down[::-1] != down
        assert mean == same  # the row of means stays at the end
        *names, last = chrome.execute_script(read, "class")
        assert sorted(names) == sorted(EVIL)
        assert last == "mean"
        assert names != sorted(EVIL, reverse=True)


def test_an_image_is_enlarged(address: str) -> None:
    with chromium() as chrome:
        chrome.get(address)
        views = "return [...document.querySelectorAll('.stage svg')].map(svg => svg.getAttribute('viewBox'))"
        assert chrome.execute_script(views) == []
        chrome.execute_script("document.querySelector('.enlarge').click()")
        assert chrome.execute_script("return document.querySelector('dialog').open")
        whole = chrome.execute_script(views)
        assert len(whole) == 2
        press = 'document.querySelector(`[data-zoom="${arguments[0]}"]`).click()'
        chrome.execute_script(press, "1.5")
        left, right = chrome.execute_script(views)
        assert left == right != whole[0]
        assert float(left.split()[2]) == pytest.approx(float(whole[0].split()[2]) / 1.5)
        drag = """
            const svg = document.querySelector('.stage svg');
            const at = (type, x) => svg.dispatchEvent(
                new PointerEvent(type, {clientX: x, clientY: 300, pointerId: 1, bubbles: true}));
            svg.setPointerCapture = () => {};
            at('pointerdown', 300); at('pointermove', 250); at('pointerup', 250);
        """
        chrome.execute_script(drag)
        moved, also = chrome.execute_script(views)
        assert moved == also
        assert float(moved.split()[0]) > float(left.split()[0])
        chrome.execute_script(press, "0")
        assert chrome.execute_script(views) == whole
        chrome.execute_script("document.querySelector('[data-close]').click()")
        assert not chrome.execute_script("return document.querySelector('dialog').open")
        assert console_lines(chrome) == []


def test_images_are_drawn(tmp_path: Path, shapes: Path) -> None:
    """Both panels of a pair show the one JPEG of the file."""
    index = shapes_index(shapes)
    write_page(tmp_path / "report.html", make_report(index, near_truth(index)))
    with chromium() as chrome:
        chrome.get((tmp_path / "report.html").as_uri())
        pairs = "return document.querySelectorAll('.photo').length"
        uses = """
            const uses = [...document.querySelectorAll('.pair use')];
            return uses.map(use => document.querySelector(use.getAttribute('href')).tagName);
        """
        assert chrome.execute_script(uses) == ["image"] * chrome.execute_script(pairs) != []
        png = chrome.find_element("css selector", ".pair").screenshot_as_png
    pixels = np.asarray(Image.open(BytesIO(png)).convert("RGB")).astype(float)
    half = pixels.shape[1] // 2
    assert pixels[:, : half - 4].std() > 20
    assert pixels[:, half + 4 :].std() > 20


def test_a_page_of_nothing_has_no_errors_either(tmp_path: Path, shapes: Path) -> None:
    index = shapes_index(shapes)
    table = near_truth(index)
    nothing = table.select(np.zeros(0, np.int64))
    write_page(tmp_path / "report.html", make_report(replace(index), nothing, table))
    with chromium(width=390) as chrome:
        chrome.get((tmp_path / "report.html").as_uri())
        assert console_lines(chrome) == []
