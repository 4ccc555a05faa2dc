"""The documents cannot drift: generated files are what they are made from, quoted figures those of their source."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

import bnsharp_cli
from tests.cli.helpers import bnsharp
from tests.documents import COMMANDS, ROOT, Document, help_of
from tests.generated import COMMAND, GENERATED, HELP, SECTION

README = ROOT / "README.md"
DECISIONS = ROOT / "docs" / "decisions"


def test_every_command_has_a_section_and_the_reverse() -> None:
    listed = help_of("").partition("Commands:")[2]
    names = {line.split()[0] for line in listed.splitlines() if re.match(r"  [a-z]", line)}
    assert names == set(COMMANDS)
    assert [name for _, name, _, _ in SECTION.findall(HELP.read_text())] == list(COMMANDS)


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_generated_file_is_what_it_is_made_from(path: Path) -> None:
    text = path.read_text()
    assert text == GENERATED[path](), f"{COMMAND} writes it anew"
    assert COMMAND in "".join(text.splitlines()[:5])


def test_the_help_fits_into_a_terminal() -> None:
    assert all(len(line) <= 80 for _, _, text, _ in SECTION.findall(HELP.read_text()) for line in text.splitlines())


def test_every_environment_variable_is_documented() -> None:
    text = "".join(path.read_text() for path in (ROOT / "bnsharp_cli").rglob("*.py"))
    own = r"(?<!_)BNSHARP_[A-Z_]+"  # _BNSHARP_COMPLETE is how typer is asked
    assert set(re.findall(own, text)) == set(re.findall(own, HELP.read_text()))


def test_the_two_commands_stand_in_the_readme() -> None:
    lines = README.read_text().splitlines()
    found = [line for line in lines if re.match(r"^pip install .*&& (bnsharp rescale-test|pytest)$", line)]
    assert found == ["pip install . && bnsharp rescale-test", "pip install '.[test]' && pytest"]


def test_the_readme_and_the_architecture_are_short() -> None:
    assert len(README.read_bytes()) <= 12_000
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= 90


def test_the_readme_and_the_first_page_lead_to_every_page() -> None:
    """tests/test_site.py looks into the navigation of the site."""
    pages = {f"docs/{page.name}" for page in HELP.parent.glob("*.md")} | {"ARCHITECTURE.md", "SECURITY.md"}
    home = "".join(f"(docs/{link})" for link in Document(HELP.parent / "index.md").links)
    assert {page for page in pages if f"({page}" not in README.read_text() + home} == set()


@pytest.mark.parametrize("command", ["measure", "compare"])
def test_the_output_in_the_readme_is_the_commands_own(command: str, tmp_path: Path) -> None:
    """Up to the last digits, which belong to the machine."""
    block = re.search(rf"```console\n\$ bnsharp ({command} .*)\n((?:.*\n)*?)```", README.read_text())
    assert block
    printed = bnsharp(*block[1].split(), folder=tmp_path).stdout
    assert [_without_digits(line) for line in block[2].splitlines()] == [
        _without_digits(line) for line in printed.splitlines()
    ]
    shown, measured = (_numbers_of_bn(text) for text in (block[2], printed))
    assert shown == pytest.approx(measured, rel=1e-2)


def _numbers_of_bn(text: str) -> list[float]:
    """The value, or the values, the ratio and its interval."""
    line = re.search(r"^bn +\S+ +(.*)", text, re.MULTILINE)
    assert line
    return [float(number) for number in re.findall(r"\d+\.\d+", line[1])][:5]


def test_the_ratio_on_all_samples_in_the_readme_is_what_compare_says(tmp_path: Path) -> None:
    quoted = float(re.search(r"the ratio on all of them is (\S+)\.", README.read_text())[1])
    samples = ("sample:digits-small-batch", "sample:digits-large-batch")
    printed = bnsharp("compare", *samples, "--samples", "all", "--json", "--quiet", folder=tmp_path).stdout
    (bn,) = [one for one in json.loads(printed)["comparison"] if one["measure"] == "bn"]
    assert quoted == pytest.approx(1 / bn["ratio"], abs=5e-3)


def _without_digits(line: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"\d[\d.,]*(e[+-]?\d+)?", "#", line)).strip()


def test_the_cost_in_the_readme_is_that_of_the_benchmark() -> None:
    """The rows of LeNet-BN in benchmarks/RESULTS.md, rounded."""
    rows = _lenet_rows()
    sentence = " ".join(re.search(r"On this LeNet .*?\)", README.read_text(), re.DOTALL)[0].split())
    ours, worst = rows["BN-Sharpness (ours)"], rows["worst case, adaptive L2"]
    assert f"takes {ours.forwards:.0f} forwards and {ours.backwards:.0f} backwards, {ours.seconds:.1f} s" in sentence
    assert f"takes {worst.forwards:.0f} forwards and {worst.backwards:.0f} backwards" in sentence
    assert {f"{row.seconds:.0f}" for name, row in rows.items() if name.startswith("worst case")} == {"4"}
    assert "about 4 s" in sentence
    eigenvalue = sorted(row.seconds for name, row in rows.items() if name.startswith("λ_max"))
    assert f"takes {eigenvalue[0]:.0f} to {eigenvalue[-1]:.0f} s" in sentence


class _Row:
    """One method in a table of benchmarks/RESULTS.md."""

    def __init__(self, cells: list[str]) -> None:
        self.forwards, self.backwards = float(cells[2]), float(cells[3])
        self.seconds = float(cells[4].split()[0])


def _lenet_rows() -> dict[str, _Row]:
    text = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    table = re.search(r"### lenet-bn.*?\n((?:\|[^\n]*\n)+)", text, re.DOTALL)[1].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0]: _Row(row) for row in cells}


@pytest.mark.parametrize(
    "name", [line.split("`")[1] for line in (ROOT / "docs/checkpoints.md").read_text().splitlines() if "%" in line]
)
def test_the_table_of_samples_has_the_recorded_figures(name: str) -> None:
    from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint

    record = load_checkpoint(ROOT / "sample_checkpoints" / f"{name}.pt").metadata["training"]
    row = next(line for line in (ROOT / "docs/checkpoints.md").read_text().splitlines() if f"| `{name}`" in line)
    _, batch, decay, loss, accuracy = (cell.strip() for cell in row.strip("|").split("|"))
    assert int(batch) == record["batch_size"]
    assert float(decay) == record["weight_decay"]
    assert float(loss) == pytest.approx(record["train_loss"], rel=0.03)
    if "study" not in name:  # those record the accuracy on a part of the test images
        assert float(accuracy.removesuffix("%")) == pytest.approx(100 * record["test_accuracy"], abs=0.051)


def test_every_sample_is_in_the_table() -> None:
    text = (ROOT / "docs/checkpoints.md").read_text()
    assert all(f"| `{path.stem}`" in text for path in (ROOT / "sample_checkpoints").glob("*.pt"))


def test_decisions_are_numbered_listed_and_say_what_decided() -> None:
    pages = sorted(path for path in DECISIONS.glob("*.md") if path.name != "README.md")
    index = re.findall(r"^\| \[(\d+)\]\((.*?)\) \| (.*) \|$", (DECISIONS / "README.md").read_text(), re.MULTILINE)
    assert [name for _, name, _ in index] == [page.name for page in pages]
    for number, (page, (listed, name, title)) in enumerate(zip(pages, index, strict=True), 1):
        text = page.read_text()
        assert name.startswith(f"{number:03d}-")
        assert int(listed) == number
        assert text.startswith(f"# {number}. {title.replace(chr(92), '')}\n")
        assert "\n## Decision\n" in text
        evidence = text.partition("\n## What decided\n")[2]
        assert re.search(r"`(pytest|python|bnsharp)\b", evidence), f"{name} names no command"
        assert len(text.splitlines()) <= 60


def test_the_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == bnsharp_cli.__version__
    assert f"## {bnsharp_cli.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_constraints_pin_every_dependency_and_no_location() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    pinned = set(re.findall(r"^([\w.-]+)==", text, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    assert {re.match(r"[\w-]+", name)[0] for name in names} <= pinned
