"""The command that gives the numbers of a document again, as far as the document says what it was."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import UsageError, shown
from bnsharp_cli.io.checkpoints.samples import checkpoint_title
from bnsharp_cli.io.files.sample_folders import SAMPLE_PREFIX
from bnsharp_cli.measurement.bound.options import BoundOptions
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.option_records import OptionField, shortest
from bnsharp_cli.report.pages.reported import JsonRecord

_APART = frozenset({"delta", "iterations", "seed"})
"""Options that are said otherwise."""
_LOSS, _BATCHES = "cross-entropy", 256


def command_line(document: JsonRecord) -> list[str]:
    """The command, its words quoted for a shell.

    Args:
        document: of any command that measures.
    """
    command = document["command"]
    subjects = document["networks"] if command == "compare" else [document]
    words = ["bnsharp", command, *(_path(one["checkpoint"]["path"]) for one in subjects)]
    words += [*_of_network(subjects[0]), *_of_data(document, subjects[0]), *_of_measures(document, subjects[0])]
    return [shlex.quote(shown(word)) for word in (*words, *_of_options(document["options"]), *_of_checks(document))]


def _path(text: str) -> str:
    title = checkpoint_title(Path(text))
    return title if title.startswith(SAMPLE_PREFIX) else f"./{text}" if text.startswith("-") else text


def _of_network(network: JsonRecord) -> Iterator[str]:
    checkpoint = network["checkpoint"]
    if checkpoint["architecture_source"] == "option":
        yield from ("--arch", checkpoint["architecture"])


def _of_data(document: JsonRecord, network: JsonRecord) -> Iterator[str]:
    data, options = document["data"], document["options"]
    whole = data["samples"] == data["available"]
    yield from ("--data", data["spec"], "--samples", "all" if whole else str(data["samples"]))
    if data["split"] != "train":
        yield from ("--split", data["split"])
    if data["batch_size"] != _BATCHES:
        yield from ("--batch-size", str(data["batch_size"]))
    if "text" in data:
        yield from ("--context", str(data["text"]["context"]))
    if data["seed"]:
        yield from ("--seed", str(data["seed"]))
    if options["loss"] != _LOSS:
        yield from ("--loss", options["loss"])
    if "output_key" in options:
        yield from ("--output-key", options["output_key"])
    if options["bn"] != "batch":
        yield from ("--bn", options["bn"])
    if network.get("test"):
        yield from ("--test-data", network["test"]["data"]["spec"])
    if "seeds" in document:
        yield from ("--seeds", str(len(document["seeds"])))


def _of_measures(document: JsonRecord, network: JsonRecord) -> Iterator[str]:
    """The measures and radii, for the commands that take any."""
    records = network.get("measures", {})
    radii = dict.fromkeys(
        one["delta"] for record in records.values() for one in record.get("profile", [record]) if "delta" in one
    )
    if document["command"] in {"measure", "compare", "check"}:
        for name in ["all"] if document.get("skipped") else records:
            if [*records] != ["bn"]:
                yield from ("--measure", name)
        if radii and [*radii] != [MeasureOptions.delta]:
            yield from ("--delta", ",".join(f"{delta:.12g}" for delta in radii))
        return
    if "invariance" in document:
        names = [row["measure"] for row in document["invariance"]["rows"] if row["measure"] in MEASURES]
        for name in ["all"] if {*names} == {*MEASURES} else names:
            yield from ("--measure", name)
    if document["options"]["delta"] != MeasureOptions.delta:
        yield from ("--delta", f"{document['options']['delta']:.12g}")


def _of_options(options: JsonRecord) -> Iterator[str]:
    """Every other option that is not at its default."""
    own = (*MeasureOptions.flat_fields(), *(BoundOptions.flat_fields() if "kl" in options else ()))
    for one in own:
        if one.name not in _APART and one.name in options and not _is_default(one, options[one.name]):
            yield from _option(one, options[one.name])
    if options["iterations"] != _default_steps(options):
        yield from ("--iterations", str(options["iterations"]))


def _is_default(one: OptionField, value: Any) -> bool:
    default = [*one.default] if isinstance(one.default, tuple) else one.default
    return bool(value == default)


def _option(one: OptionField, value: Any) -> Iterator[str]:
    if value is None or isinstance(value, bool):
        if value is not None:
            yield f"--{one.flag}" if value else f"--no-{one.flag}"
    elif isinstance(value, list) and one.declared.read is None:
        for item in value:
            yield from (f"--{one.flag}", str(item))
    else:
        yield from (
            f"--{one.flag}",
            ",".join(str(shortest(item)) for item in (value if isinstance(value, list) else [value])),
        )


def _default_steps(options: Mapping[str, Any]) -> int | None:
    """The steps that the search takes where the command does not say how many."""
    try:
        return MeasureOptions(search=options["search"], restarts=options["restarts"]).steps
    except UsageError:  # a stranger's document may name a search that there is not
        return None


def _of_checks(document: JsonRecord) -> Iterator[str]:
    """The limits of a check; those of a baseline need its file, which the document does not name."""
    for check in document.get("checks", ()):
        if check["kind"] in {"max", "min"} and check["limit"] is not None:
            yield from (f"--{check['kind']}", f"{check['name']}={check['limit']!r}")


def lines_of(words: Sequence[str], longest: int = 96) -> list[str]:
    r"""A command on lines of bounded length, which a shell joins.

    >>> lines_of(["bnsharp", "measure", "net.pt", "--delta", "0.1"], longest=28)
    ['bnsharp measure net.pt \\', '    --delta 0.1']
    """
    parts: list[str] = []
    for word in words:
        if parts and parts[-1].startswith("-") and not word.startswith("-"):
            parts[-1] += f" {word}"  # an option stands beside its value
        else:
            parts.append(word)
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 3 > longest:
            lines[-1] += " \\"
            lines.append(f"    {part}")
        else:
            lines[-1] += f" {part}"
    return lines
