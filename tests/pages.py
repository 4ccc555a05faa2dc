"""The commands and programs of the documents, run as a reader runs them: ``python -m tests.pages`` writes outputs.

Each block of a page is run in its order, in a folder with the files that pages take for granted, unless a comment
before it says why not: ``<!-- not run: REASON -->``, or ``<!-- run by: TEST -->`` where another test does.
``<!-- file: NAME -->`` makes a file of a block, and ``<!-- exits: 1 -->`` expects that code.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from tests.cli.helpers import bnsharp
from tests.documents import ROOT, Document, documents

OPTIONS = "bnsharp.toml"
"""The file of options in the folder of a reader."""

EXECUTABLE = ("sh", "console", "python", "bash", "shell", "py", "pycon")
_BLOCK = re.compile(r"(?:^<!-- ([^\n]*) -->\n)?^ *```(\w+)[^\n]*\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_NUMBER = re.compile(r"(?<!\w)-?\d[\d.,]*(?:e[+-]?\d+)?|\d[\d.,]*(?:e[+-]?\d+)?")
_MARK = re.compile(r"(not run|run by|file|exits): (.+)|(example): .*")
_STAND_IN = {"torchvision:resnet18": "resnet18.pt"}
"""The file that a command reads for ``model.pt`` where it names another network than that file holds."""


_RESULTS = {"measured.json": "measure", "checked.json": "check", "rescaled.json": "rescale-test"}
"""Results that pages read, and the commands that write them."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page.

    Attributes:
        page: the document.
        language: behind the fence.
        code: what is in it.
        kind: of the comment before it: ``not run``, ``run by``, ``file``, ``exits``, ``example``; empty for none.
        word: what the comment says.
    """

    page: Document
    language: str
    code: str
    kind: str
    word: str

    @property
    def commands(self) -> Iterator[list[str]]:
        """The words of each command of a shell block, with its patterns expanded where it is run."""
        lines = self.code.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        for line in lines:
            for part in line.split("&&"):
                words = shlex.split(part, comments=True)
                if words:
                    yield [match for word in words for match in (_matches(word) or [word])]


def _matches(pattern: str) -> list[str]:
    """What a shell makes of a word, in the working directory."""
    return sorted(str(path) for path in Path().glob(pattern)) if "*" in pattern else []


@dataclass
class Reader:
    """Who runs a page: in a folder of its own, with one Python from its first block to its last."""

    folder: Path
    names: dict[str, Any] = field(default_factory=dict)

    def run(self, block: Block) -> str:
        """Run one block; what its last command printed."""
        if block.kind == "file":
            (self.folder / block.word).write_text(block.code)
            return ""
        if block.language == "python":
            with contextlib.chdir(self.folder), mock.patch.object(sys, "path", [str(self.folder), *sys.path]):
                exec(compile(block.code, block.page.name, "exec"), self.names)
            return ""
        printed = ""
        with contextlib.chdir(self.folder):
            commands = [*block.commands]
        with self._defaults() if block.language == "console" else contextlib.nullcontext():
            for words in commands:
                printed = self._command(words, int(block.word) if block.kind == "exits" else 0)
        return printed

    @contextlib.contextmanager
    def _defaults(self) -> Iterator[None]:
        """The program's own defaults instead of those of the folder."""
        options, away = self.folder / OPTIONS, self.folder / "options-of-the-folder"
        options.rename(away)
        try:
            yield
        finally:
            away.rename(options)

    def _command(self, words: list[str], code: int) -> str:
        if words[0] == "bnsharp":
            for name in {*words} & {*_RESULTS}:
                if not (self.folder / name).exists():
                    bnsharp(_RESULTS[name], "model.pt", "--output", name, folder=self.folder)
            stand_ins = [file for name, file in _STAND_IN.items() if name in words]
            words = [stand_ins[0] if stand_ins and word == "model.pt" else word for word in words]
            return bnsharp(*words[1:], folder=self.folder, expect=code).stdout
        words = ["python", "-m", *words] if words[0] == "pytest" else words
        assert words[0] == "python", f"nobody runs {shlex.join(words)}: mark the block, or teach tests/pages.py"
        finished = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == code, finished.stderr
        return finished.stdout


def pages() -> list[Document]:
    """Every document that has something to run, but for the package's own, which are doctests."""
    return [one for one in documents() if blocks(one) and not one.name.startswith("bnsharp_cli/")]


def blocks(page: Document) -> list[Block]:
    """The blocks of a page that a reader would run."""
    found = []
    for comment, language, code in _BLOCK.findall(page.text):
        mark = _MARK.fullmatch(comment)
        kind, word = (mark[1] or mark[3], mark[2] or "") if mark else ("", "")
        if language in EXECUTABLE:
            found.append(Block(page, language, code, kind, word))
    return found


def outputs(page: Document, reader: Reader) -> dict[str, str]:
    """The text of each block with an output as it is, and as it is printed today."""
    found = {}
    for block in blocks(page):
        if block.kind in {"not run", "run by", "example"}:
            continue
        printed = reader.run(block)
        if block.language == "console":
            (command,) = (line for line in block.code.splitlines() if line.startswith("$ "))
            found[block.code] = "\n".join(line.rstrip() for line in [command, *printed.splitlines()]) + "\n"
    return found


def without_digits(text: str) -> str:
    """A text in which every number is the same, and every space.

    >>> without_digits("bn  0.0118 in 3.2 s")
    'bn # in # s'
    """
    return re.sub(r"\s+", " ", _NUMBER.sub("#", text)).strip()


def write() -> None:
    """Write the outputs of all pages and notebooks anew."""
    from tests import notebooks
    from tests.page_files import given_names, template

    with tempfile.TemporaryDirectory() as folder:
        made = template(Path(folder) / "template")
        for number, page in enumerate(pages()):
            if not any(one.language == "console" and not one.kind for one in blocks(page)):
                continue
            own = Path(folder) / str(number)
            shutil.copytree(made, own)
            text = page.text
            for before, after in outputs(page, Reader(own, given_names())).items():
                text = text.replace(before, after)
            page.path.write_text(text)
        notebooks.write(Path(folder))


if __name__ == "__main__":
    write()
