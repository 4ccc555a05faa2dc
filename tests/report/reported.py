"""Documents of every command that a report shows, measured on a few samples of the embedded networks."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.report.json_document import render
from bnsharp_cli.workflows.measuring import measure_checkpoint
from bnsharp_cli.workflows.options import Data
from tests.cli.helpers import bnsharp

Document = dict[str, Any]
FEW = Data(samples=128, batch_size=32)
RADII = (1e-3, 1e-2)
HOSTILE = '"><script>hacked=1</script><img src=x onerror="hacked=1">\u202etxt.\x1b[31m{{ 7 * 7 }}'
"""What a stranger may call a file: markup, a template, a turned writing direction, an escape of a terminal."""

SHOWN = '"><script>hacked=1</script><img src=x onerror="hacked=1">\\u202etxt.\\x1b[31m{{ 7 * 7 }}'
"""The same as a reader sees it."""


def measured(name: str = "digits-small-batch") -> Document:
    """Two measures of a network at two radii, by layer."""
    return copy.deepcopy(_measured(name))


@cache
def _measured(name: str) -> Document:
    runs = [MeasureOptions.from_flat(delta=delta, by="layer", noise_draws=2) for delta in RADII]
    found = measure_checkpoint(embedded_checkpoint(name), data=FEW, measures=("bn", "noise"), runs=runs)
    document: Document = json.loads(render(found.document()))
    return document


@cache
def _printed(arguments: tuple[str, ...], code: int) -> str:
    few = ("--samples", "64", "--batch-size", "32", "--json", "--quiet")
    return bnsharp(*arguments, *few, folder=Path(__file__).parent, expect=code).stdout


def printed(*arguments: str, code: int = 0) -> Document:
    """What a command prints on few samples."""
    document: Document = json.loads(_printed(arguments, code))
    return document


def compared() -> Document:
    """Two networks side by side."""
    return printed("compare", "sample:digits-small-batch", "sample:digits-large-batch", "--delta", "1e-3,1e-2")


def checked() -> Document:
    """A network that breaks a limit."""
    return printed("check", "sample:digits-small-batch", "--max", "loss=1e-9", "--min", "accuracy=50%", code=1)


def rescaled() -> Document:
    """A measure that says anything of copies, and one that says the same."""
    return printed("rescale-test", "--measure", "weight-norm", "--measure", "loss")


def copies() -> Document:
    """BN-Sharpness on copies."""
    return printed("rescale-test")


def audited() -> Document:
    """A network of which one stated error holds, one does not, and nothing can be said of a third."""
    document = copy.deepcopy(copies())
    for entry in ("copies", "gamma_beta"):
        del document[entry]
    numbers = [("integral", 1e-6, 2e-9, True), ("rounding", 1e-9, 3e-9, False), ("population", None, None, None)]
    findings = [
        {"name": name, "stated": stated, "found": found, "holds": holds, "sentence": f"the {name} was compared"}
        for name, stated, found, holds in numbers
    ]
    verdict = {"holds": False, "sentence": "1 statement does not hold: rounding"}
    return {**document, "command": "audit", "findings": findings, "verdict": verdict}


def every_document() -> list[Document]:
    """One of each command."""
    bound = printed("bound", "sample:digits-small-batch", "--kl", "50")
    failure: Document = json.loads(render(FAILURE))
    return [measured(), compared(), checked(), rescaled(), copies(), audited(), bound, failure]


FAILURE: Document = {
    "schema": "bnsharp/1",
    "path": "broken.pt",
    "error": {
        "reason": "broken.pt ends early.",
        "remedy": "Copy it again.",
        "argument": "checkpoint",
        "expected": "a whole file",
        "found": "half of one",
        "exit_code": 3,
    },
}


def with_name(document: Document, name: str) -> Document:
    """The same of a file that is called otherwise, in whatever a stranger decides in a document."""
    changed = copy.deepcopy(document)
    for network in changed.get("networks", [changed]):
        network["checkpoint"]["path"] = f"folder/{name}"
        network["checkpoint"]["architecture"] = name
        network["checkpoint"]["notes"] = [name]
        network["checkpoint"]["format"] = name
    changed["notes"] = [name]
    changed["data"]["spec"] = name
    changed["options"]["search"] = name
    changed["version"] = name
    for check in changed.get("checks", ()):
        check["name"], check["sentence"] = name, name
    for row in changed.get("comparison", ()):
        row["sentence"] = name
    for record in changed.get("measures", {}).values():
        for one in record.get("profile", [record]):
            for part in one.get("parts", {}).get("each", ()):
                part["name"] = name
    return changed
