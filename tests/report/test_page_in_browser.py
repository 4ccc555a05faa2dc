"""A report in a real browser: it runs, it loads nothing, everybody can read it, and a stranger's text stays text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import axe_playwright_python
import pytest

from bnsharp_cli.report.pages.assembly import page_of
from bnsharp_cli.report.pages.rendering import render_page
from bnsharp_cli.workflows.reporting import reported_document
from tests.browser import browser
from tests.report.reported import FAILURE, HOSTILE, SHOWN, Document, checked, compared, measured, rescaled, with_name

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
SIZES = (390, 1280)
THEMES = ("light", "dark")
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
INJECTED = """<script>window.hacked = 1</script><img src="picture.svg" onload="window.hacked = 1">
<p id="own" style="color: red">"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


def some_documents() -> list[Document]:
    return [measured(), compared(), checked(), rescaled(), FAILURE]


def html_of(documents: list[Document]) -> str:
    return render_page(page_of([reported_document(one, "kept.json") for one in documents]))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html_of(some_documents()), encoding="utf-8")
    return path.as_uri()


class Visit:
    """One page in a window of its own, with all that it says and asks for."""

    def __init__(self, chromium: Browser, address: str, width: int = 1280, theme: Any = "light") -> None:
        self.context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        self.page: Page = self.context.new_page()
        self.said, self.asked, self.loaded = list[str](), list[str](), list[str]()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfinished", lambda request: self.loaded.append(request.url))
        self.page.goto(address)

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", SIZES)
def test_everybody_can_read_it(chromium: Browser, address: str, width: int, theme: str, record_property: Any) -> None:
    with Visit(chromium, address, width, theme) as visit:
        record_property(
            "milliseconds to load",
            visit.page.evaluate("performance.timing.loadEventEnd - performance.timing.navigationStart"),
        )
        for folded in visit.page.query_selector_all("summary"):
            folded.click()
        visit.page.evaluate(AXE)
        found = visit.page.evaluate("axe.run({resultTypes: ['violations']})")
        assert len(found["passes"]) > 20
        assert [
            (one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in found["violations"]
        ] == []
        assert visit.said == []
        assert visit.asked == [address]
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_axe_would_find_what_is_wrong(chromium: Browser, address: str) -> None:
    with Visit(chromium, address) as visit:
        visit.page.evaluate("document.querySelector('svg[role=img]').removeAttribute('aria-labelledby')")
        visit.page.evaluate("document.querySelector('dt').style.color = '#dddddd'")
        visit.page.evaluate("document.querySelectorAll('svg[role=img] title').forEach((one) => one.remove())")
        visit.page.evaluate(AXE)
        found = visit.page.evaluate("axe.run({runOnly: ['svg-img-alt', 'color-contrast']})")["violations"]
        assert {one["id"] for one in found} == {"svg-img-alt", "color-contrast"}


def shares_of(visit: Visit) -> list[float]:
    """The shares of the first table of layers, from above."""
    cells = visit.page.eval_on_selector_all(
        "table:has(svg.bar) >> nth=0 >> tbody >> tr >> td:nth-child(3)", "cells => cells.map((one) => one.dataset.key)"
    )
    return [float(cell) for cell in cells]


def test_tables_sort_by_mouse_and_keyboard(chromium: Browser, address: str) -> None:
    expected = sorted(part["share"] for part in measured()["measures"]["bn"]["parts"]["each"])
    with Visit(chromium, address) as visit:
        heading = visit.page.locator("table:has(svg.bar)").first.locator("thead th").nth(2)
        assert heading.get_attribute("aria-sort") is None
        heading.get_by_role("button").click()
        assert (shares_of(visit), heading.get_attribute("aria-sort")) == (expected, "ascending")
        visit.page.keyboard.press("Enter")
        assert (shares_of(visit), heading.get_attribute("aria-sort")) == (expected[::-1], "descending")
        assert visit.page.locator("#announcement").inner_text() == "Sorted by share, descending."
        visit.page.keyboard.press("Shift+Tab")
        visit.page.keyboard.press("Shift+Tab")
        visit.page.keyboard.press("Space")
        names = sorted(part["name"] for part in measured()["measures"]["bn"]["parts"]["each"])
        rows = visit.page.locator("table:has(svg.bar)").first.locator("tbody th").all_inner_texts()
        assert rows == names
        assert heading.get_attribute("aria-sort") is None


def test_what_is_not_known_comes_last(chromium: Browser, address: str) -> None:
    with Visit(chromium, address) as visit:
        table = visit.page.locator("table:has(caption:text('Values'))")
        interval = table.locator("thead th").filter(has_text="95 %")
        place = interval.evaluate("one => one.cellIndex + 1")
        for _ in range(2):
            interval.get_by_role("button").click()
            cells = [text.strip() for text in table.locator(f"tbody td:nth-child({place})").all_inner_texts()]
            known = [text for text in cells if text != "–"]
            assert 0 < len(known) < len(cells)
            assert cells[: len(known)] == known


def test_the_theme_can_be_chosen(chromium: Browser, address: str) -> None:
    with Visit(chromium, address, theme="dark") as visit:
        colours = []
        for _ in range(4):
            colours.append(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
            visit.page.locator("#theme").click()
        system, light, dark, again = colours
        assert system == dark == again != light


def test_a_strangers_text_stays_text(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(html_of([with_name(one, HOSTILE) if "data" in one else one for one in some_documents()]))
    assert not {*"\u202e\x1b"} & {*path.read_text()}
    with Visit(chromium, path.as_uri()) as visit:
        assert visit.page.evaluate("window.hacked") is None
        assert visit.page.evaluate("document.scripts.length") == 1
        assert visit.page.evaluate("document.images.length") == 0
        assert visit.page.inner_text("#verdict-heading").startswith("Sharpness of")
        assert SHOWN in visit.page.inner_text("#measured")
        assert "{{ 7 * 7 }}" in visit.page.inner_text("#measured")
        assert (visit.said, visit.asked) == ([], [path.as_uri()])


@pytest.mark.parametrize("with_policy", [True, False])
def test_what_slipped_in_could_not_run(chromium: Browser, tmp_path: Path, with_policy: bool) -> None:
    html = html_of([measured()]).replace("</main>", f"{INJECTED}</main>")
    if not with_policy:
        html = html.replace('http-equiv="Content-Security-Policy"', 'name="nothing"')
    path = tmp_path / "injected.html"
    (tmp_path / "picture.svg").write_text(PICTURE)
    path.write_text(html)
    with Visit(chromium, path.as_uri()) as visit:
        visit.page.wait_for_load_state("load")
        colour = visit.page.evaluate("getComputedStyle(document.getElementById('own')).color")
        assert (visit.page.evaluate("window.hacked") is None) is with_policy
        assert (colour != "rgb(255, 0, 0)") is with_policy
        assert (visit.loaded == [path.as_uri()]) is with_policy
        assert visit.page.locator("thead button").count() > 0  # its own script runs either way
