"""The notebooks of docs/notebooks, executed; their outputs are kept, so that GitHub and the site show them."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.documents import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
SECONDS = 300


def executed(path: Path, folder: Path) -> NotebookNode:
    """A notebook as it is with the outputs of today, run in ``folder``."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times of this run
    return notebook


def texts(notebook: NotebookNode) -> list[str]:
    """What each cell of code printed or returned as a text, and the kinds of its pictures."""
    return [_text(cell) for cell in notebook.cells if cell.cell_type == "code"]


def write(folder: Path) -> None:
    """Execute all notebooks and keep their outputs."""
    for path in NOTEBOOKS:
        nbformat.write(executed(path, folder), path)


def _text(cell: NotebookNode) -> str:
    found = []
    for output in cell.outputs:
        data = output.get("data", {})
        found.append(output.get("text") or ("picture" if "image/png" in data else data.get("text/plain", "")))
    return "".join(found)
