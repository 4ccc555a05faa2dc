"""Which measures give one number for one function? Every measure on rescaled copies of several networks.

    python -m benchmarks.invariance --networks DIR --record tables.jsonl [--cifar folder:DIR] [--only NAME]

The networks are trained, or are trained now until their training loss is below the level; DIR keeps their states. The
copies are those of ``bnsharp rescale-test --measure all``. Networks that the record holds are not measured again.
Printed are a table of what each measure follows, over all networks, and one of the values on each network.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import bnsharp_cli
from benchmarks.networks import lenet
from benchmarks.trained_networks import SUBJECTS, cifar, digits, trained
from bnsharp_cli.measurement.measures.survival import Rescaling

Batches = Sequence[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Case:
    """A network to be measured.

    Attributes:
        subject: in :data:`~benchmarks.trained_networks.SUBJECTS`; None for the embedded sample.
        level: its training loss.
        samples: how many are measured.
        batch: samples in a batch.
        measures: those that are taken.
    """

    subject: str | None
    level: float
    samples: int = 256
    batch: int = 128
    measures: tuple[str, ...] = ("all",)


CHEAP = ("bn", "relative-flatness", "gradient-norm", "weight-norm", "loss", "margin")
"""The measures of a network of which every pass is long."""

CASES = {
    "LeNet-BN, digits (embedded sample)": Case(None, 2.2e-4),
    "ReLU MLP, digits": Case("mlp digits", 0.03),
    "BN-MLP, digits": Case("bn-mlp digits", 0.03),
    "LeNet-GN, digits": Case("lenet-gn digits", 0.03),
    "transformer with LN, digits": Case("transformer digits", 0.03),
    "LeNet-BN, CIFAR-10": Case("lenet-bn cifar", 0.03, 128, 64),
    "resnet18, CIFAR-10": Case("resnet18 cifar", 0.1, 8, 8, CHEAP),
}


def opened(case: Case, folder: Path, spec: str) -> tuple[nn.Module, Batches]:
    """The network of a case, and its batches."""
    if case.subject is None:
        problem = lenet(case.samples, case.batch)
        return problem.module, problem.batches
    subject = SUBJECTS[case.subject]
    images, labels = digits() if subject.data == "digits" else cifar(spec)
    found = dict(trained(case.subject, (images, labels), folder))
    parts = (part[: case.samples].split(case.batch) for part in (images, labels))
    return found[f"{case.subject} {case.level:g}"], list(zip(*parts, strict=True))


def measured(case: Case, folder: Path, spec: str) -> dict[str, Any]:
    """The table of a case, and the loss of the network."""
    network, batches = opened(case, folder, spec)
    table = bnsharp_cli.invariance_table(network, batches, measure=case.measures, ball_samples=8, progress=True)
    return table.to_dict()


def largest_factor(row: Mapping[str, Any], kind: str) -> float | None:
    """The largest factor between the original and a copy of a kind; 1 where the value follows, None if unmeasured."""
    kept = row.get("follows", {}).get(kind, "none")
    if kept in {"none", None}:
        return None
    if kept:
        return 1.0
    copies = [each["value"] for each in row["values"].values() if each["kind"] == kind]
    if any(value * row["value"] <= 0 for value in copies):
        return math.inf
    return max(max(value / row["value"], row["value"] / value) for value in copies)


def summary(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What each measure follows on all networks that have a kind of rescaling, or by which factor it fails to."""
    kinds = [*Rescaling]
    having = [sum(any(copy["kind"] == kind for copy in table["copies"]) for table in tables.values()) for kind in kinds]
    yield "| measure | " + " | ".join(f"{kind} ({count})" for kind, count in zip(kinds, having, strict=True)) + " |"
    yield "| --- |" + " ---: |" * len(kinds)
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for table in tables.values():
        for row in table["rows"]:
            rows.setdefault(row["measure"], []).append(row)
    for name, own in rows.items():
        cells = []
        for kind in kinds:
            factors = [factor for row in own if (factor := largest_factor(row, kind)) is not None]
            cells.append("–" if not factors else "same" if max(factors) == 1 else written(max(factors)))
        yield f"| `{name}` | {' | '.join(cells)} |"


def written(factor: float) -> str:
    """A factor as a table shows it."""
    return "sign or zero" if math.isinf(factor) else f"× {factor:.3g}"


def details(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    """The rows of one network."""
    made = ", ".join(copy["name"] for copy in table["copies"])
    yield f"### {name}"
    yield ""
    yield f"Copies: {made}. The loss moves by at most {max(copy['loss_drift'] for copy in table['copies']):.0e}."
    yield ""
    yield "| measure | value | smallest | largest | ratio | verdict |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for row in table["rows"]:
        if "value" not in row:
            yield f"| `{row['measure']}` | – | – | – | – | {row['verdict']} |"
            continue
        numbers = [row["value"], row["smallest"]["value"], row["largest"]["value"]]
        ratio = "–" if row["ratio"] is None or math.isinf(row["ratio"]) else f"{row['ratio']:.4g}"
        cells = [*(f"{number:.4g}" for number in numbers), ratio, row["verdict"]]
        yield f"| `{row['measure']}` | {' | '.join(cells)} |"
    yield ""


def main() -> None:
    """Measure what the record lacks, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=Path, required=True)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--cifar", help="images of CIFAR-10, as folder:DIR; without them only digits are measured")
    parser.add_argument("--only", nargs="*", choices=CASES, default=[*CASES])
    arguments = parser.parse_args()
    torch.manual_seed(0)
    lines = arguments.record.read_text().splitlines() if arguments.record.exists() else []
    tables = {entry["network"]: entry["table"] for entry in map(json.loads, lines)}
    for name in arguments.only:
        case = CASES[name]
        needs_cifar = case.subject is not None and SUBJECTS[case.subject].data == "cifar"
        if name in tables or (needs_cifar and not arguments.cifar):
            continue
        tables[name] = measured(case, arguments.networks, arguments.cifar or "")
        with arguments.record.open("a") as record:
            record.write(json.dumps({"network": name, "table": tables[name]}) + "\n")
    tables = {name: tables[name] for name in CASES if name in tables}
    print("\n".join(summary(tables)))
    print()
    for name, table in tables.items():
        print("\n".join(details(name, table)))


if __name__ == "__main__":
    main()
