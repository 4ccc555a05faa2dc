"""Are the stated errors true? ``bnsharp audit`` on the sample checkpoints and on ten further networks.

    python -m benchmarks.audit --networks DIR --record FILE --cifar folder:DIR [--only WORD] [--delta 1e-3]

The further networks are trained here, on digits or on 2,048 CIFAR-10 images; their weights are kept in DIR. Every audit
is a line of FILE, and what FILE holds is not done again. The table has found / stated for every statement.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks import audit_networks
from benchmarks.audit_networks import SUBJECTS, archive_of, trained
from bnsharp_cli.io.checkpoints.samples import sample_names
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.report.json_document import render_line
from bnsharp_cli.workflows.auditing import audit_checkpoint
from bnsharp_cli.workflows.options import CheckpointSource, Data

BATCH = 32
_STATEMENTS = ("loss", "integral", "rounding", "order", "threads", "search", "population", "invariance")
_CIFAR = "cifar"


def audits(
    arguments: argparse.Namespace, options: MeasureOptions
) -> Iterator[tuple[str, Path, CheckpointSource, Data]]:
    """Name, file, network and data of every audit."""
    images = f"npz:{archive_of(arguments.cifar, arguments.networks)}" if arguments.cifar else ""
    for name in sample_names():
        if images or not name.startswith(_CIFAR):
            data = images if name.startswith(_CIFAR) else "digits"
            chosen = Data(data=data, samples=512, batch_size=BATCH)
            yield f"{name}, δ = {options.delta:g}", Path(f"sample:{name}"), CheckpointSource(), chosen
    for name, subject in SUBJECTS.items():
        data = images if subject.images == _CIFAR else "digits"
        if data and arguments.only in name:
            source = CheckpointSource(arch=f"{audit_networks.__file__}:{subject.make.__name__}")
            chosen = Data(data=data, samples=subject.samples, batch_size=BATCH)
            yield f"{name}, δ = {options.delta:g}", trained(name, arguments.networks, data), source, chosen


def table(records: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A row for every audit."""
    yield f"| network | loss | value | status | {' | '.join(_STATEMENTS[1:])} | passes |"
    yield "| --- | ---: | ---: | --- |" + " ---: |" * len(_STATEMENTS)
    for name, document in records.items():
        measured, cost = document["measures"]["bn"], document["cost"]
        found = {one["name"]: one for one in document["findings"]}
        wrong = "" if found["loss"]["holds"] else " **(another loss)**"
        cells = " | ".join(_cell(found[statement]) for statement in _STATEMENTS[1:])
        yield (
            f"| {name} | {document['loss']:.2g}{wrong} | {measured['value']:.4g} | {measured['status']} | {cells} "
            f"| {cost['forward']:,.0f}F + {cost['backward']:,.0f}B |"
        )


def _cell(finding: Mapping[str, Any]) -> str:
    if finding["holds"] is None:
        return "–"
    if finding["name"] == "population":
        shown = finding["sentence"].partition(" intervals")[0]
    elif finding["stated"] is None:
        shown = "bound"
    else:
        shown = f"{finding['found'] / finding['stated']:.2g}"
    return shown if finding["holds"] else f"**{shown}**"


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", type=Path, required=True, help="folder of the trained networks")
    parser.add_argument("--record", type=Path, required=True, help="file of the audits, a line each")
    parser.add_argument("--cifar", default="", help="CIFAR-10 images, as for bnsharp measure --data; none by default")
    parser.add_argument("--only", default="", help="the audits whose name holds this")
    parser.add_argument("--delta", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.networks.mkdir(parents=True, exist_ok=True)
    lines = arguments.record.read_text().splitlines() if arguments.record.exists() else []
    records = dict(json.loads(line) for line in lines)
    options = MeasureOptions(delta=arguments.delta)
    for name, path, source, data in audits(arguments, options):
        if arguments.only in name and name not in records:
            document = json.loads(render_line(audit_checkpoint(path, source, data, options).document()))
            records[name] = document
            with arguments.record.open("a") as record:
                record.write(json.dumps([name, document]) + "\n")
            print(name, document["verdict"]["sentence"], flush=True)
    print("\n".join(table(records)))


if __name__ == "__main__":
    main()
