"""The documents of the repository, read: their headings, links, code and what the code names."""

from __future__ import annotations

import ast
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.cli.helpers import bnsharp

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "measure",
    "compare",
    "figure",
    "rescale-test",
    "check",
    "report",
    "audit",
    "inspect",
    "measures",
    "bound",
    "train",
    "reproduce",
)
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)
_FOREIGN = {"build", "dist", "node_modules", "runs", "shared"}


@dataclass(frozen=True)
class Document:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """Its path inside the repository."""
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text()

    @property
    def prose(self) -> str:
        """The text without fenced code."""
        return _FENCE.sub("", self.text)

    @property
    def links(self) -> list[str]:
        """The targets of its links and pictures."""
        return _LINK.findall(_INLINE.sub("", self.prose)) + _LINK.findall(" ".join(re.findall(r"\[`.*", self.prose)))

    @property
    def anchors(self) -> set[str]:
        """What a link to one of its headings may end with."""
        return {slug(heading) for heading in _HEADING.findall(self.prose)}

    def fences(self, *languages: str) -> list[str]:
        """Its fenced blocks of these languages."""
        return [code for language, code in _FENCE.findall(self.text) if language in languages]

    @property
    def inline(self) -> list[str]:
        """Code inside its sentences, on one line each."""
        return [" ".join(code.split()) for code in _INLINE.findall(self.prose)]

    @property
    def commands(self) -> Iterator[str]:
        """Single commands: from shell blocks, from code inside sentences, and from examples in a command's help."""
        lines = [line for code in self.fences("sh", "console", "") for line in code.splitlines()]
        for line in [*lines, *self.inline]:
            for part in re.split(r"&&|\|\||;", line.partition("  #")[0].removeprefix("$ ")):
                if part.strip():
                    yield part.strip()


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading.

    >>> slug("Which `--arch` is it?")
    'which---arch-is-it'
    """
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.replace(" ", "-")


def documents() -> list[Document]:
    """Every Markdown file of the repository."""
    found = []
    for path in sorted(ROOT.rglob("*.md")):
        folders = path.relative_to(ROOT).parts[:-1]
        if not any(folder.startswith(".") or folder in _FOREIGN for folder in folders):
            found.append(Document(path))
    return found


@cache
def help_of(command: str) -> str:
    """What ``bnsharp COMMAND --help`` prints; the help of ``bnsharp`` itself for an empty command."""
    with tempfile.TemporaryDirectory() as folder:
        printed = bnsharp(*command.split(), "--help", folder=Path(folder)).stdout
    return "\n".join(line.rstrip() for line in printed.splitlines()) + "\n"


@cache
def options_of(command: str) -> frozenset[str]:
    """The options of one command."""
    return frozenset(OPTION.findall(help_of(command)))


def module_file(module: str) -> Path | None:
    """The file of a module of this repository, if there is one."""
    path = ROOT / module.replace(".", "/")
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)


@cache
def options_of_program(module: str) -> frozenset[str]:
    """The options that a module of this repository declares, or one that it imports."""
    return frozenset().union(*(_declared(path) for path in (module_file(module), *_imports(module)) if path))


def defined(dotted: str) -> bool:
    """Whether ``package.module.name`` is a module, or a name that a module assigns, defines or imports."""
    if module_file(dotted):
        return True
    module, _, name = dotted.rpartition(".")
    while module:
        path = module_file(module)
        if path:
            return _names(path, name.partition(".")[0])
        module, _, part = module.rpartition(".")
        name = f"{part}.{name}"
    return False


def _imports(module: str) -> list[Path]:
    path = module_file(module)
    nodes = ast.walk(ast.parse(path.read_text())) if path else ()
    names = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    files = [module_file(name) for name in names if name.split(".")[0] in {"benchmarks", "tests"}]
    return [file for file in files if file]


def _declared(path: Path) -> set[str]:
    strings = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    return {text for text in strings if isinstance(text, str) and OPTION.fullmatch(text)}


def _names(path: Path, name: str) -> bool:
    text = path.read_text()
    written = rf"^(def|class) {name}\b|^{name}\b.*=|^(from .* )?import .*\b{name}\b|[\"']{name}[\"']"
    return bool(re.search(written, text, re.MULTILINE))
