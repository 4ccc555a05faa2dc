"""Every document of every command is as the package's JSON Schema describes it, and nothing is described in vain."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from jsonschema import Draft202012Validator
from PIL import Image

from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from tests.cli.helpers import bnsharp
from tests.io.data.texts import sentences, write_lines, write_network
from tests.json_page import described

SAMPLE = "sample:digits-small-batch"
FAST = ("--samples", 64, "--batch-size", 32, "--quiet", "--json")
RADIAL = [word for name in ("bn", "delta-lp", "delta-linf", "keskar") for word in ("--measure", name)]
CURVED = [word for name in ("adaptive", "hessian") for word in ("--measure", name)]
RELATIVE = [word for name in ("noise", "critical-radius", "pac-bayes-sigma") for word in ("--measure", name)]
RADII = ("--delta", 1e-3, "--delta", 1e-2, "--ball-samples", 2)
FACTORY = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 2)
    def forward(self, images):
        noise = 1e-3 * torch.rand_like(images)
        return {"head": self.linear(images + noise), "other": images}
def data(split):
    return torch.utils.data.TensorDataset(torch.randn(64, 4), torch.arange(64) % 2)
"""
CASES = {
    "relative to weights": (
        *("measure", SAMPLE, *RELATIVE, "--parameters", "conv*", "--noise-draws", 2, "--sigma-draws", 2),
        *("--samples", "all", "--quiet", "--json"),
    ),
    "curvature": ("measure", SAMPLE, *CURVED, "--parameters", "conv*", "--iterations", 2, *FAST),
    "several radii": ("measure", SAMPLE, *RADIAL, *RADII, "--parameters", "conv*", "--uncertainty", "full", *FAST),
    "text": (
        *("measure", "lm", "--data", "text:a.jsonl", "--test-data", "text:b.jsonl", "--measure", "loss"),
        *("--batch-tokens", 64, "--quiet", "--json"),
    ),
    "test data": ("measure", SAMPLE, "--test-data", "digits", "--measure", "loss", *FAST),
    "several seeds": ("measure", SAMPLE, "--seeds", 2, *FAST),
    "compare with several seeds": ("compare", SAMPLE, "sample:digits-large-batch", "--seeds", 2, *FAST),
    "compare": ("compare", SAMPLE, "sample:digits-large-batch", "--test-data", "digits", *FAST),
    "the list of measures": ("measures", "--json"),
    "parts by layer": ("measure", SAMPLE, "--by", "layer", "--delta", 1e-3, "--delta", 0.3, *FAST),
    "a folder of images": ("measure", SAMPLE, "--data", "folder:images", "--classes", "folder", *FAST),
    "a chosen output": (
        *("measure", "net.pt", "--arch", "mine.py:Net", "--data", "mine.py:data", "--output-key", "head"),
        *("--measure", "all", "--parameters", "linear*"),
        *RADII,
        *FAST,
    ),
    "rescale-test": ("rescale-test", SAMPLE, *FAST),
    "measures of rescaled copies": ("rescale-test", SAMPLE, "--measure", "bn", "--measure", "delta-lp", *FAST),
    "check": ("check", SAMPLE, "--test-data", "digits", *FAST),
    "audit": ("audit", SAMPLE, *FAST),
    "bound": ("bound", SAMPLE, "--kl", 3, *FAST),
    "inspect": ("inspect", SAMPLE, "--json"),
    "inspect an unknown network": ("inspect", "unknown.pt", "--json"),
    "inspect weights beside objects": ("inspect", "objects.pt", "--json"),
    "reproduce": ("reproduce", "figure-1", "--output", "f1", "--json", "--quiet"),
}
FAILURES = {
    "no file": (("measure", "none.pt", *FAST), 3, "none.pt"),
    "a bad option": (("measure", "none.pt", "--samples", 0, "--json"), 2, "none.pt"),
    "no checkpoint": (("reproduce", "figure-9", "--json"), 2, None),
    "a missing option": (("bound", SAMPLE, "--json"), 2, SAMPLE),
    "no file to inspect": (("inspect", "none.pt", "--json"), 3, "none.pt"),
    "no file to rescale": (("rescale-test", "none.pt", *FAST), 3, "none.pt"),
    "no file to check": (("check", "none.pt", *FAST), 3, "none.pt"),
    "no file to audit": (("audit", "none.pt", *FAST), 3, "none.pt"),
    "an unknown option": (("measure", "none.pt", "--foo", "--json"), 2, None),
    "an unknown command": (("measur", "none.pt", "--json"), 2, None),
    "no argument": (("check", "--json"), 2, None),
    "a value of another type": (("measure", "none.pt", "--json", "--seed", "z"), 2, None),
    "a command without documents": (("train", "--json"), 2, None),
}


class Settings:
    """What a training script may keep beside its weights."""


UNSEEN = {
    "compared.error",  # a run whose measure fails is rare and slow to make; tests/workflows has its record
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    (folder / "mine.py").write_text(FACTORY)
    torch.save({"linear.weight": torch.randn(2, 4), "linear.bias": torch.randn(2)}, folder / "net.pt")
    weights = torchvision.models.squeezenet1_0().state_dict()
    unknown = {name: tensor for name, tensor in weights.items() if name != "features.0.bias"}
    torch.save({"state_dict": unknown, "saved": datetime.date(2024, 1, 1)}, folder / "unknown.pt")
    torch.save(
        {"state_dict": torchvision.models.squeezenet1_0().state_dict(), "args": Settings()}, folder / "objects.pt"
    )
    write_network(folder / "lm")
    for seed, name in enumerate(("a", "b")):
        write_lines(folder / f"{name}.jsonl", [{"text": text} for text in sentences(9, seed)])
    for name in map(str, range(10)):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(7):
            Image.new("L", (8, 8), 20 * number).save(folder / "images" / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def documents(folder: Path) -> dict[str, Any]:
    return {name: json.loads(bnsharp(*arguments, folder=folder).stdout) for name, arguments in CASES.items()}


DEFINED_AS = {"measures": "measures-list"}
"""Commands whose documents are described by another name than theirs."""


def of(command: str) -> Draft202012Validator:
    """What is described of one command."""
    schema = described()
    name = DEFINED_AS.get(command, command)
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})


def test_every_document_is_described(documents: Mapping[str, Any]) -> None:
    for name, document in documents.items():
        errors = [
            (name, error.json_path, error.message[:200]) for error in of(document["command"]).iter_errors(document)
        ]
        assert not errors


def test_several_radii_are_a_list_of_records(documents: Mapping[str, Any]) -> None:
    profile = documents["several radii"]["measures"]["bn"]["profile"]
    assert [record["delta"] for record in profile] == [1e-3, 1e-2]


@pytest.mark.parametrize(("arguments", "code", "path"), FAILURES.values(), ids=FAILURES)
def test_what_fails_has_a_document(folder: Path, arguments: tuple[object, ...], code: int, path: str | None) -> None:
    finished = bnsharp(*arguments, folder=folder, expect=code)
    document = json.loads(finished.stdout)
    of("failure").validate(document)
    assert document["error"]["exit_code"] == code
    assert document["path"] == path
    assert document["error"]["reason"] in finished.stderr


def test_a_failure_without_json_prints_no_document(folder: Path) -> None:
    assert bnsharp("measure", "none.pt", folder=folder, expect=3).stdout == ""
    assert bnsharp("measure", "--foo", folder=folder, expect=2).stdout == ""


@pytest.mark.parametrize("json_too", [True, False])
@pytest.mark.parametrize("command", ["measure", "check", "inspect", "rescale-test"])
def test_the_document_of_a_failure_takes_the_place_of_an_earlier_one(
    tmp_path: Path, command: str, json_too: bool
) -> None:
    (tmp_path / "result.json").write_text('{"schema": "bnsharp/1", "of": "yesterday"}')
    asked = ("--output", "result.json", *(["--json"] if json_too else []))
    finished = bnsharp(command, "none.pt", *asked, folder=tmp_path, expect=3)
    written = (tmp_path / "result.json").read_text()
    of("failure").validate(json.loads(written))
    assert json.loads(written)["error"]["reason"] == "Cannot open none.pt: No such file or directory."
    assert finished.stdout == (written if json_too else "")


def test_a_failure_takes_the_place_of_nothing_else(tmp_path: Path) -> None:
    """Who failed may not have known yet that the file is data."""
    (tmp_path / "notes.json").write_text('{"of": "yesterday"}')
    bnsharp("measure", "none.pt", "--output", "notes.json", folder=tmp_path, expect=3)
    assert (tmp_path / "notes.json").read_text() == '{"of": "yesterday"}'


def test_no_failure_is_written_over_what_is_read_or_was_asked_for_by_nobody(tmp_path: Path) -> None:
    sample = embedded_checkpoint().read_bytes()
    (tmp_path / "net.pt").write_bytes(sample)
    bnsharp("measure", "net.pt", "--output", "net.pt", folder=tmp_path, expect=2)
    bnsharp("train", "--output", "run.pt", "--batch-size", 0, folder=tmp_path, expect=2)
    bnsharp("reproduce", "figure-1", "--output", "folder", "--only", "none", "--json", folder=tmp_path, expect=2)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]
    assert (tmp_path / "net.pt").read_bytes() == sample


def test_nothing_is_described_in_vain(folder: Path, documents: Mapping[str, Any]) -> None:
    seen: set[str] = set()
    failed = json.loads(bnsharp("inspect", "none.pt", "--json", folder=folder, expect=3).stdout)
    named = [(DEFINED_AS.get(each["command"], each["command"]), each) for each in documents.values()]
    for name, document in [*named, ("failure", failed)]:
        seen |= set(_met({"$ref": f"#/$defs/{name}"}, document, name))
    every = {place for name, entry in described()["$defs"].items() for place in _places(entry, name)}
    assert every - seen == UNSEEN


def _places(schema: Mapping[str, Any], place: str) -> Iterator[str]:
    """Every described field of one definition."""
    for name, field in schema.get("properties", {}).items():
        yield f"{place}.{name}"
        yield from _places(field, f"{place}.{name}")
    for part in _parts(schema):
        yield from _places(part, place)


def _met(schema: Mapping[str, Any], value: Any, place: str) -> Iterator[str]:
    """The described fields that a value has."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        yield from _met(described()["$defs"][name], value, name)
    if isinstance(value, dict):
        for name, entry in value.items():
            known = schema.get("properties", {}).get(name)
            if known is not None:
                yield f"{place}.{name}"
            further = known or schema.get("additionalProperties")
            if further:
                yield from _met(further, entry, f"{place}.{name}" if known is not None else place)
    for part in _parts(schema):
        for entry in value if isinstance(value, list) else [value]:
            yield from _met(part, entry, place)


def _parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from schema.get("anyOf", ())
    yield from schema.get("oneOf", ())
    if "items" in schema:
        yield schema["items"]
