"""What a shell offers for values, as bash, zsh and fish ask for it."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bnsharp_cli.io.networks.index_file import index_contents
from tests.cli.helpers import bnsharp

KINDS = ("folder:", "npz:", "text:")
MINE = "def net(): ...\nclass Data: ...\ndef _hidden(): ...\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "images" / "train").mkdir(parents=True)
    for name in ("x.npz", "y.txt", "lines.jsonl", ".hidden"):
        (tmp_path / name).touch()
    return tmp_path


def offered(folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> list[str]:
    """What bash gets for the last of the words that it has made of a line."""
    monkeypatch.setenv("_BNSHARP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    return bnsharp(folder=folder).stdout.split()


@pytest.mark.parametrize(
    ("option", "beginning", "offers"),
    [
        ("--arch", "", ["lenet-bn", "vgg11-bn", "torchvision:", "timm:"]),
        ("--arch", "t", ["torchvision:", "timm:"]),
        ("--arch", "torchvision:alex", ["torchvision:alexnet"]),
        ("--arch", "timm:resnet18.", []),
        ("--arch", "mi", ["mine.py:net", "mine.py:Data"]),
        ("--arch", "mine.py:n", ["mine.py:net"]),
        ("--arch", "./mi", ["./mine.py:net", "./mine.py:Data"]),
        ("--arch", "nowhere/", []),
        ("--data", "", ["digits", "cifar10", "cifar100", "mnist", "fashionmnist", "svhn", *KINDS]),
        ("--data", "fol", ["folder:", "folder:images/"]),
        ("--data", "folder:images/", ["folder:images/train/"]),
        ("--data", "npz:", ["npz:images/", "npz:x.npz"]),
        ("--data", "npz:.", []),
        ("--data", "text:", ["text:images/", "text:lines.jsonl", "text:y.txt"]),
        ("--data", "mine.py:D", ["mine.py:Data"]),
        ("--loss", "", ["cross-entropy", "mse", "token-cross-entropy"]),
        ("--loss", "mine.py:n", ["mine.py:net"]),
        ("--partition", "", ["paper", "extended", "filter", "layer", "element"]),
        ("--measure", "d", ["delta-lp", "delta-linf"]),
        ("--output", "x", []),
    ],
)
def test_values_are_offered(
    option: str, beginning: str, offers: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert offered(folder, monkeypatch, ["bnsharp", "measure", option, beginning]) == offers


def test_all_networks_of_a_library_are_offered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name for line in index_contents()["networks"] for group in line["functions"] for name in group}
    found = offered(folder, monkeypatch, ["bnsharp", "train", "--arch", "tim"])
    assert set(found) == {name for name in known if name.startswith("timm:")}
    assert len(found) > 1000


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        (["--arch", "torchvision", ":", "resnet1"], ["resnet101", "resnet152", "resnet18"]),
        (["--arch", "=", "torchvision", ":", "alex"], ["alexnet"]),
        (["--measure", "=", "k"], ["keskar"]),
        (["--data", "npz", ":"], ["images/", "x.npz"]),
        (["sample", ":", "cifar10-l"], ["cifar10-lenet"]),
        (["sample", ":", "cifar10-lenet", "--bn", "r"], ["running"]),
        (["sam"], ["sample:cifar10-lenet"]),
    ],
)
def test_bash_takes_words_apart_at_colons_and_gets_the_rest_of_them(
    words: list[str], offers: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = offered(folder, monkeypatch, ["bnsharp", "measure", *words])
    assert found == offers if len(offers) > 1 or words[-1] != "sam" else offers[0] in found


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_itself_completes_a_network(folder: Path) -> None:
    """By the script that bash is given, in a session of its own, at the key for it."""
    command = folder / "bnsharp"
    command.write_text(f"#!{sys.executable}\nfrom bnsharp_cli.cli.main import main\nmain()\n")
    command.chmod(0o755)
    own = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "TERM": "dumb", "HISTFILE": ""}
    asked = {**own, "_BNSHARP_COMPLETE": "source_bash"}
    script = subprocess.run([command], env=asked, capture_output=True, text=True, check=False).stdout
    (folder / "rc").write_text(script)
    terminal, its = pty.openpty()
    streams = {"stdin": its, "stdout": its, "stderr": its}
    said = b""
    with subprocess.Popen(["bash", "--rcfile", "rc", "-i"], cwd=folder, env=own, **streams) as shell:
        try:
            os.write(terminal, b"bnsharp measure --arch torchvision:alex\t")
            while not said.endswith(b"net "):
                assert select.select([terminal], [], [], 60)[0], said
                said += os.read(terminal, 4096)
        finally:
            shell.kill()
    os.close(terminal)
    os.close(its)
