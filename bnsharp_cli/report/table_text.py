"""Tables as text for other programs: rows of Markdown and of LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

_LATEX = {
    **{"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "\\": r"\textbackslash{}"},
    **{"×": r"$\times$", "…": r"\ldots{}", "~": r"$\sim$", "^": r"\^{}", "δ": r"$\delta$"},
    **{"±": r"$\pm$", "≥": r"$\geq$", "–": "--"},
}


def markdown_row(row: Sequence[str]) -> str:
    r"""One line of a table of Markdown.

    >>> markdown_row(["a|b", "1"])
    '| a\\|b | 1 |\n'
    """
    escaped = (cell.replace("|", r"\|") for cell in row)
    return f"| {' | '.join(escaped)} |\n"


def latex_row(row: Sequence[str]) -> str:
    r"""One line of a ``tabular``, for a document in UTF-8.

    >>> latex_row(["a_b", "1 ± 2"])
    'a\\_b & 1 $\\pm$ 2 \\\\'
    """
    cells = ("".join(_LATEX.get(character, character) for character in cell) for cell in row)
    return " & ".join(cells) + r" \\"


def latex_table(columns: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A ``tabular`` of LaTeX.

    Args:
        columns: how they are aligned, such as ``lrr``.
        headings: of the columns.
        rows: of cells.
    """
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\hline", latex_row(headings), r"\hline", *map(latex_row, rows)]
    return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"
