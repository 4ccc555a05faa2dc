"""The site of the documents: ``pip install '.[docs]' && sphinx-build -W -c docs/site . build/site``.

Its pages are the Markdown files and notebooks of the repository at their own paths, so that every link leads to the
same page on the site and wherever else the files are shown. Nothing is loaded from another host.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = {
    "": {"Start": "start", "Questions": "faq", "Glossary": "glossary"},
    "What you can do": {
        "Compare two runs": "compare",
        "In CI": "ci",
        "Limits and baselines": "check",
        "In your tests": "pytest",
        "During training": "monitor",
        "In a paper": "paper",
        "Figures": "figures",
        "Reports": "report",
        "From Python": "python",
        "Train": "training",
        "Several machines": "processes",
        "Large models": "large-models",
        "On a cluster": "cluster",
        "Add your own measure": "own-measure",
        "Notebook: two minima": "notebooks/compare",
        "Notebook: a run": "notebooks/monitor",
    },
    "What it means": {
        "What the number means": "meaning",
        "The measures": "measures",
        "Invariance": "invariance",
        "A bound on new data": "bound",
        "Audit": "audit",
        "A study": "RESULTS",
    },
    "Look up": {
        "Commands": "cli",
        "JSON documents": "json",
        "Checkpoints": "checkpoints",
        "Data and loss": "data",
        "Other inputs": "inputs",
    },
    "How far to trust it": {
        "Accuracy": "../benchmarks/ACCURACY",
        "Benchmarks": "../benchmarks/README",
        "Against other programs": "../benchmarks/RESULTS",
        "On a GPU": "../benchmarks/RESULTS-cuda",
        "Time": "../benchmarks/WALL_TIME",
        "Memory": "../benchmarks/MEMORY",
        "Security": "../SECURITY",
    },
    "Take part": {
        "Contributing": "contributing",
        "Architecture": "../ARCHITECTURE",
        "Decisions": "decisions/README",
        "Changelog": "../CHANGELOG",
    },
}
"""The navigation: what it calls the pages, below docs/, by the heading over them."""

FOR_OTHERS = "What you can do"
"""The heading for pages that none names."""

BELOW = {"docs/measures": "measures", "docs/decisions/README": "decisions"}
"""Pages whose own pages lie in a folder, and that folder below docs/."""

project = "bnsharp"
extensions = ["myst_nb"]
root_doc = "docs/index"
include_patterns = ["docs/**", "benchmarks/*.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md"]
exclude_patterns = ["docs/site"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}

html_theme = "furo"
html_title = "bnsharp"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["root"]
html_show_copyright = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#00568a", "color-brand-content": "#00568a"},
    "dark_css_variables": {"color-brand-primary": "#6cb8e6", "color-brand-content": "#6cb8e6"},
}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"

myst_heading_anchors = 4
nb_execution_mode = "off"  # a test executes the notebooks, and compares what they print


def _add_navigation(_: Any, page: str, source: list[str]) -> None:
    """Put the navigation below the pages that have one, which on GitHub show none."""
    if page == root_doc:
        for caption, named in PAGES.items():
            pages = [f"{title} <{name}>" for title, name in named.items()]
            source[0] += _toctree(caption, pages + (_others() if caption == FOR_OTHERS else []))
    elif page in BELOW:
        own = sorted((ROOT / "docs" / BELOW[page]).glob("*.md"))
        source[0] += _toctree("", [f"/docs/{BELOW[page]}/{path.stem}" for path in own if path.stem != "README"])


def _others() -> list[str]:
    """Pages of docs/ that no heading names."""
    named = {root_doc.removeprefix("docs/"), *(name for pages in PAGES.values() for name in pages.values())}
    return sorted({path.stem for path in (ROOT / "docs").glob("*.md")} - named)


def _toctree(caption: str, pages: list[str]) -> str:
    lines = ["", "", "```{toctree}", ":hidden:", *([f":caption: {caption}"] if caption else []), "", *pages, "```", ""]
    return "\n".join(lines)


def setup(app: Any) -> None:
    """Connect what Sphinx calls."""
    app.connect("source-read", _add_navigation)
