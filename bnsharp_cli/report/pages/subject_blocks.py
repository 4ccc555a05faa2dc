"""What a page is about: the networks, with their losses, and the data that they were measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bnsharp_cli.errors import counted, shown
from bnsharp_cli.report.pages.page import PageBlock, PageCell, PageColumn, PageFacts, PageList, PageTable
from bnsharp_cli.report.pages.reported import JsonRecord, ReportedDocument, ReportedNetwork
from bnsharp_cli.report.pages.value_blocks import MOST_ROWS
from bnsharp_cli.report.pages.wording import count_cell, interval_cell, number_cell, share_cell
from bnsharp_cli.report.subject import inputs_line, with_error

_MOST_DATA, _MOST_NOTES = 6, 40


def subject_blocks(documents: Sequence[ReportedDocument], networks: Sequence[ReportedNetwork]) -> list[PageBlock]:
    """A table of networks, facts on the data, and what a reader should know of both."""
    failures = [one for one in documents if one.command == "failure"]
    blocks: list[PageBlock] = []
    if networks:
        blocks.append(_networks(networks))
    facts = dict.fromkeys(tuple(_facts(one)) for one in networks)
    blocks += [PageFacts(entries) for entries in [*facts][:_MOST_DATA]]
    if networks:
        blocks.append(PageFacts([("cost of the commands", _cost(documents))]))
    notes = [*dict.fromkeys(note for one in networks for note in _notes(one))]
    if notes:
        blocks.append(PageList(notes[:_MOST_NOTES]))
    if failures:
        blocks.append(_failures(failures))
    return blocks


def _networks(networks: Sequence[ReportedNetwork]) -> PageTable:
    tested = any(one.record.get("test") for one in networks)
    columns = [
        *(PageColumn("network"), PageColumn("architecture"), PageColumn("parameters", numeric=True)),
        *(PageColumn("loss", numeric=True), PageColumn("95 % interval", numeric=True)),
        PageColumn("accuracy", numeric=True),
    ]
    if tested:
        names = ("test loss", "test accuracy", "gap")
        columns += [PageColumn(name, numeric=True) for name in names]
    rows = [[*_cells(one), *(_test_cells(one) if tested else [])] for one in networks]
    return PageTable.cut(
        "Networks", columns, rows, MOST_ROWS, ("gap: test loss less loss, ± standard error.",) * tested
    )


def _cells(network: ReportedNetwork) -> list[PageCell]:
    record, checkpoint = network.record, network.record["checkpoint"]
    guess = " (a guess)" if checkpoint["architecture_source"] == "guess" else ""
    interval = network.interval("loss", None)
    return [
        PageCell(network.name),
        PageCell(f"{checkpoint['architecture']}{guess}"),
        count_cell(checkpoint["parameters"]),
        number_cell(record["loss"]),
        interval_cell(None, None) if interval is None else interval_cell(interval.low, interval.high),
        share_cell(record["accuracy"]),
    ]


def _test_cells(network: ReportedNetwork) -> list[PageCell]:
    test = network.record.get("test")
    if not test:
        return [PageCell("–")] * 3
    accuracy = PageCell("–")
    if test["accuracy"] is not None:
        accuracy = PageCell(with_error(test["accuracy"], test["accuracy_error"], share=True), test["accuracy"])
    return [
        PageCell(with_error(test["loss"], test["loss_error"]), test["loss"]),
        accuracy,
        PageCell(with_error(test["gap"], test["gap_error"]), test["gap"]),
    ]


def _facts(network: ReportedNetwork) -> Iterator[tuple[str, str]]:
    """The data, the loss and the blocks, a line each."""
    document = network.document
    data, options = document["data"], document["options"]
    of = "" if data["available"] is None else f" of {data['available']:,}"
    yield "data", f"{data['samples']:,}{of} samples of {data['spec']} ({data['split']}), seed {data['seed']}"
    yield "loss", f"{options['loss']}, batches of {data['batch_size']:,}, {options['bn']} statistics of batch norm"
    kind, _, described = inputs_line(data).partition(": ")
    yield kind, described
    test = network.record.get("test")
    if test:
        own = test["data"]
        yield "test data", f"{counted(own['samples'], 'sample')} of {shown(own['spec'])} ({own['split']})"
    if "blocks" in network.record:
        yield "blocks", _blocks(network.record["blocks"])
    if "environment" in document:
        yield "computed in", f"{document['environment']['dtype']} on {document['environment']['device']}"


def _blocks(blocks: JsonRecord) -> str:
    joint = f", {blocks['joint']:,} of them joint" if blocks["joint"] else ""
    kind = counted(blocks["relative"], "block")
    free = f"{blocks['free_parameters']:,} free parameters"
    return f"{kind} relative to their norms{joint}, {free} (partition {blocks['partition']})"


def _cost(documents: Sequence[ReportedDocument]) -> str:
    costs = [one.document["cost"] for one in documents if one.command != "failure"]
    forward, backward = (sum(one[kind] for one in costs) for kind in ("forward", "backward"))
    return f"{forward:.4g} forwards and {backward:.4g} backwards over all samples"


def _notes(network: ReportedNetwork) -> Iterator[str]:
    for source in (network.record, network.document):
        if source.get("warning"):
            yield source["warning"]
        if source.get("command") != "compare":
            yield from source.get("notes", ())
    yield from network.record["checkpoint"]["notes"]
    yield from (note for found in network.measured for note in found.notes)
    for name, reason in network.document.get("skipped", {}).items():
        yield f"{name} was not measured: {reason}"


def _failures(failures: Sequence[ReportedDocument]) -> PageTable:
    rows = [
        [
            PageCell(one.document["path"] or one.file),
            PageCell(one.document["error"]["reason"], tone="bad"),
            PageCell(one.document["error"]["remedy"]),
        ]
        for one in failures
    ]
    columns = (PageColumn("network"), PageColumn("why"), PageColumn("what to do"))
    return PageTable.cut("What could not be measured", columns, rows, MOST_ROWS)
