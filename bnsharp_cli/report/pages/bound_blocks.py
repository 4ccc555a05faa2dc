"""The PAC-Bayes bound of Theorem 3.3: its terms and their sum."""

from __future__ import annotations

from collections.abc import Sequence

from bnsharp_cli.report.pages.page import PageBlock, PageCell, PageColumn, PageTable
from bnsharp_cli.report.pages.reported import ReportedNetwork, is_several
from bnsharp_cli.report.pages.wording import number_cell


def bound_blocks(networks: Sequence[ReportedNetwork]) -> list[PageBlock]:
    """A table of terms for every bound."""
    own = [one for one in networks if "bound" in one.record]
    return [_table(one, is_several(own)) for one in own]


def _table(network: ReportedNetwork, several: bool) -> PageTable:
    bound, of = network.record["bound"], f" for {network.name}" if several else ""
    terms = (
        (f"loss of the {bound['term']}, L̂(θ)", bound["empirical_loss"], None),
        ("perturbation", bound["perturbation"], bound["error"]),
        ("complexity, as printed", bound["complexity"], None),
        ("bound on E L(θ + u), their sum", bound["value"], None),
        ("the same with Maurer's complexity", bound["tighter_value"], None),
    )
    columns = (PageColumn("term"), PageColumn("value", numeric=True), PageColumn("± error", numeric=True))
    rows = [[PageCell(name), number_cell(value, 6), number_cell(error, 2)] for name, value, error in terms]
    notes = (
        f"KL = {bound['kl']:g} is an assumption, for a prior chosen without these {bound['term']}; "
        f"m = {bound['terms']:,} {bound['term']}, confidence {bound['confidence']:g}, loss {bound['loss_range']}.",
    )
    return PageTable(f"Theorem 3.3{of}", columns, rows, notes=notes)
