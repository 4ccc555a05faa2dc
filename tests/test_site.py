"""The site is built strictly, holds every page, and loads nothing from another host."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from tests.documents import ROOT, Document

SOURCE = ROOT / "docs" / "site"
LOADED = {
    ("script", "src"),
    ("img", "src"),
    ("img", "srcset"),
    ("iframe", "src"),
    ("source", "src"),
    ("video", "src"),
    ("audio", "src"),
    ("embed", "src"),
    ("object", "data"),
    ("form", "action"),
    ("use", "href"),
    ("image", "href"),
}
LOADING_LINKS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "manifest", "modulepreload"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; every warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    finished = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", str(SOURCE), str(ROOT), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return folder


@pytest.fixture(scope="module")
def configuration() -> Any:
    spec = spec_from_file_location("site_configuration", SOURCE / "conf.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Requests(HTMLParser):
    """What a browser loads for a page without being asked."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.styles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.targets += [value for name, value in given.items() if (tag, name) in LOADED]
        if tag == "link" and LOADING_LINKS & {*given.get("rel", "").split()}:
            self.targets.append(given.get("href", ""))
        if "http-equiv" in given and given["http-equiv"] == "refresh":
            self.targets.append(given["content"].partition("url=")[2])
        self.styles.append(given.get("style", ""))


def foreign(text: str) -> list[str]:
    """The targets in a page that lie on another host."""
    requests = Requests()
    requests.feed(text)
    found = [*requests.targets, *_in_styles("".join(requests.styles))]
    return [target for target in found if re.match(r"([a-z]+:)?//", target)]


def _in_styles(text: str) -> list[str]:
    return re.findall(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)", text) and [
        first or second for first, second in re.findall(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)", text)
    ]


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = [*site.rglob("*.html")]
    assert len(pages) > 60
    assert {page.name: found for page in pages if (found := foreign(page.read_text()))} == {}


def test_no_style_loads_anything_from_elsewhere(site: Path) -> None:
    styles = [*site.rglob("*.css")]
    assert styles
    found = {
        path.name: [one for one in _in_styles(path.read_text()) if re.match(r"(https?:)?//", one)] for path in styles
    }
    assert {name: targets for name, targets in found.items() if targets} == {}


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//cdn.example/x.css">',
        '<img src="http://example/x.png">',
        '<p style="background: url(https://example/x.png)">',
    ],
)
def test_what_would_be_loaded_is_found(page: str) -> None:
    assert foreign(page)
    assert not foreign(
        '<a href="https://example">a link is no request</a><link rel="canonical" href="https://example">'
    )


def test_every_page_is_in_the_navigation(site: Path) -> None:
    home = (site / "docs" / "index.html").read_text()
    linked = {
        (site / "docs" / target).resolve() for target in re.findall(r'class="reference internal" href="([^"#]+)"', home)
    }
    built = {page.resolve() for page in (site / "docs").rglob("*.html")}
    assert {str(page.relative_to(site)) for page in built - linked} <= {"docs/index.html"}


def test_every_page_of_the_navigation_exists(configuration: Any) -> None:
    names = [name for pages in configuration.PAGES.values() for name in pages.values()]
    there = [name for name in names for ending in ("md", "ipynb") if (ROOT / "docs" / f"{name}.{ending}").exists()]
    assert there == names


def test_the_beginning_of_the_site_leads_to_the_home_page(site: Path) -> None:
    assert 'url=docs/index.html"' in (site / "index.html").read_text()
    assert "rescale-test" in (site / "docs" / "index.html").read_text()


def test_the_site_can_be_searched_without_a_server(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    assert all(word in index for word in ("hessian", "lightning", "partit"))


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "measures").glob("*.md")), ids=lambda path: path.stem)
def test_a_page_of_a_measure_says_how_to_read_it_and_when_it_misleads(path: Path) -> None:
    page = Document(path)
    assert page.text.startswith(f"# {path.stem}\n")
    assert {"how-to-read-it", "when-it-misleads"} <= page.anchors
    assert f"{path.stem}.svg" in page.links
    misleading = page.text.partition("## When it misleads\n")[2]
    assert misleading.count("\n- ") >= 1


def test_the_pictures_are_small_and_load_nothing() -> None:
    pictures = [path for ending in ("svg", "png") for path in (ROOT / "docs").rglob(f"*.{ending}")]
    assert sum(path.stat().st_size for path in pictures) < 1_000_000
    for path in pictures:
        if path.suffix == ".svg":
            assert not re.search(r"<script|<image|href=\"(?!#)", path.read_text().partition("<defs>")[2])


def test_no_formula_is_taken_for_emphasis(site: Path) -> None:
    """Between two underscores or stars Markdown sets words in italics; formulas belong into code."""
    pages = {page.name: re.findall(r"<em>(.*?)</em>", page.read_text(), re.DOTALL) for page in site.rglob("*.html")}
    assert {
        name: found for name, words in pages.items() if (found := [one for one in words if re.search("[‖∇]|_$", one)])
    } == {}
