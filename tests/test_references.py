"""What the documents name exists: links, commands, options, programs, files, tests and names in the code."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.documents import (
    COMMANDS,
    OPTION,
    ROOT,
    Document,
    defined,
    documents,
    module_file,
    options_of,
    options_of_program,
    slug,
)

DOCUMENTS = documents()
PLACEHOLDERS = {"file.py", "path/to/file.py", "bnsharp_cli/cli/NAME.py"}
"""Files of the reader's, in examples."""
SLURM_OPTIONS = {
    *("--job-name", "--array", "--cpus-per-task", "--time", "--nodes", "--ntasks-per-node", "--gpus-per-node"),
    *("--parsable", "--dependency"),
}
TORCHRUN_OPTIONS = {"--nproc-per-node", "--nnodes", "--rdzv-backend", "--rdzv-endpoint", "--rdzv-id"}
FOREIGN_OPTIONS = {*SLURM_OPTIONS, *TORCHRUN_OPTIONS, "--check", "--from"}
"""Those of Slurm, of torchrun, of ruff and of uvx."""
NEVER = {"--trust-pickle"}
"""An option that SECURITY.md names to say that it does not exist."""
PACKAGES = {path.name for path in (ROOT / "bnsharp_cli").iterdir() if path.is_dir()}

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)


def test_anchors_are_those_of_github() -> None:
    assert slug("Which `--arch` is it?") == "which---arch-is-it"
    assert slug("Training, rules") == "training-rules"


def test_there_is_something_to_check() -> None:
    names = {document.name for document in DOCUMENTS}
    assert {"README.md", "SECURITY.md", "docs/cli.md", "benchmarks/README.md", "docs/decisions/README.md"} <= names
    assert sum(len(document.links) for document in DOCUMENTS) > 50
    assert sum(len([*document.commands]) for document in DOCUMENTS) > 100


@each_document
def test_links_lead_somewhere(document: Document) -> None:
    for link in document.links:
        if re.match(r"https?://", link):
            continue
        target, _, anchor = link.partition("#")
        path = (document.path.parent / target).resolve() if target else document.path
        assert path.exists(), link
        assert not anchor or anchor in Document(path).anchors, link


@each_document
def test_commands_take_the_options_that_they_are_given(document: Document) -> None:
    for command in document.commands:
        words = re.sub(r"^torchrun .*-m bnsharp_cli", "bnsharp", command).split()
        options = {*OPTION.findall(command)} - FOREIGN_OPTIONS - options_of("")
        if words[0] == "bnsharp" and len(words) > 1 and re.fullmatch(r"[a-z-]*", words[1]) and words[1][0] != "-":
            assert words[1] in COMMANDS, command
            assert options <= options_of(words[1]), command
        program = re.match(r"python (?:-m )?([\w./]+)", command)
        if program and not program[1].endswith(".") and f"<!-- file: {program[1]} -->" not in document.text:
            module = program[1].removesuffix(".py").replace("/", ".")
            ours = module.split(".")[0] in {"benchmarks", "bnsharp_cli", "tests", "tools"}
            assert module_file(module) if ours else find_spec(module), command
            assert not ours or options <= options_of_program(module), command


@cache
def _all_options() -> frozenset[str]:
    programs = [path for folder in ("benchmarks", "tools") for path in (ROOT / folder).glob("*.py")]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in programs]
    known = [options_of(command) for command in ("", *COMMANDS)]
    return frozenset(FOREIGN_OPTIONS | NEVER).union(*known, *map(options_of_program, [*modules, "tests.hostile.fuzz"]))


@each_document
def test_every_option_exists(document: Document) -> None:
    assert {option for option in OPTION.findall(document.text) if option not in _all_options()} == set()


@each_document
def test_files_that_are_named_exist(document: Document) -> None:
    for code in document.inline:
        for name in re.findall(r"(?<![\w/.<{*-])[\w./-]+\.(?:py|md|sh)\b", code):
            made = f"<!-- file: {name} -->" in document.text
            assert made or name in PLACEHOLDERS or _exists(name, document.path.parent), name
        if re.fullmatch(r"[\w-]+(/[\w-]+)+/?|[\w-]+/", code) and code.split("/")[0] in {*PACKAGES, *_folders()}:
            assert _exists(code, document.path.parent), code


def _exists(name: str, here: Path) -> bool:
    """Relative to the document, to the repository or to the package; a bare file name anywhere in them."""
    if any((folder / name).exists() for folder in (here, ROOT, ROOT / "bnsharp_cli", ROOT / "docs")):
        return True
    return "/" not in name and name in _file_names()


@cache
def _file_names() -> frozenset[str]:
    return frozenset(path.name for folder in _folders() for path in (ROOT / folder).rglob("*.*"))


def _folders() -> tuple[str, ...]:
    return ("bnsharp_cli", "benchmarks", "docs", "sample_checkpoints", "tests", "tools")


@each_document
def test_tests_that_are_named_exist(document: Document) -> None:
    for code in document.inline:
        for name in re.findall(r"\btest_\w+(?![\w.])", code):
            assert name in _tests() or f"{name}.py" in _file_names() or f'"{name}": {{' in _schema(), name
        named = re.match(r"pytest (tests/[\w/.]+) -k (\w+)", code)
        if named:
            path = ROOT / named[1]
            texts = [path.read_text()] if path.is_file() else [one.read_text() for one in path.rglob("*.py")]
            assert any(f"def {named[2]}(" in text for text in texts), code


@cache
def _schema() -> str:
    """The JSON Schema, whose fields may be called as a test."""
    return (ROOT / "bnsharp_cli" / "report" / "schema" / "bnsharp-1.json").read_text()


@cache
def _tests() -> frozenset[str]:
    texts = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    return frozenset(name for text in texts for name in re.findall(r"def (test_\w+)", text))


@each_document
def test_names_of_the_library_exist(document: Document) -> None:
    """But those of the files that an example adds."""
    added = re.findall(r"<!-- example: .* in (\S+)\.py -->", document.text)
    for code in [*document.inline, *document.fences("python", "sh")]:
        for dotted in re.findall(r"\bbnsharp_cli(?:\.\w+)+", code):
            assert defined(dotted) or dotted.replace(".", "/") in added, dotted
        for module, names in re.findall(r"^from (bnsharp_cli[\w.]*) import ([\w, ]+)$", code, re.MULTILINE):
            for name in names.split(","):
                assert defined(f"{module}.{name.strip()}"), f"{module}.{name}"


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("[gone](gone.md)", test_links_lead_somewhere),
        ("[gone](#gone)\n\n# Here", test_links_lead_somewhere),
        ("```sh\nbnsharp measure model.pt --tolerance 1\n```", test_commands_take_the_options_that_they_are_given),
        ("`bnsharp judge a.pt`", test_commands_take_the_options_that_they_are_given),
        ("`python -m benchmarks.gone`", test_commands_take_the_options_that_they_are_given),
        ("`python -m benchmarks.rounding --gone`", test_commands_take_the_options_that_they_are_given),
        ("with `--gone`", test_every_option_exists),
        ("`measurement/gone.py`", test_files_that_are_named_exist),
        ("`io/gone/`", test_files_that_are_named_exist),
        ("`pytest tests/core -k test_gone`", test_tests_that_are_named_exist),
        ("```python\nfrom bnsharp_cli.api import gone\n```", test_names_of_the_library_exist),
    ],
)
def test_what_does_not_exist_is_found(text: str, check: Callable[[Document], None], tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(text)
    with pytest.raises(AssertionError):
        check(Document(path))
