"""The process that reads a stranger's file: what it may not do, and what becomes of what it says."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers import limited_process
from bnsharp_cli.io.containers.limited_child import MOST_MEMORY, MOST_SECONDS
from bnsharp_cli.io.containers.read_container import read_container
from tests.io.loaded_modules import loaded_modules


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.pt"
    torch.save({"w": torch.arange(4.0)}, path)
    return path


@contextmanager
def saying(monkeypatch: pytest.MonkeyPatch, program: str) -> Iterator[None]:
    """Let the process run another program instead of the reader, after it has limited itself."""
    begun = f"""
import sys; sys.path.append(sys.argv[1])
from bnsharp_cli.io.containers import limited_child
def describe_files(files): {program}
limited_child.describe_files = describe_files
limited_child.main()
"""
    monkeypatch.setattr(limited_process, "_PROGRAM", begun)
    yield


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointRefusedError) as refused:
        read_container(path)
    assert "\n" not in refused.value.reason
    return refused.value.reason


def test_reading_in_the_process_and_here_is_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = read_container(path)
    monkeypatch.setattr(sys, "executable", "")
    here = read_container(path)
    assert torch.equal(apart.content["w"], here.content["w"])
    assert (apart.kind, apart.sha256) == (here.kind, here.sha256)


def test_a_process_that_hangs_is_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    with saying(monkeypatch, "\n while True: pass"):
        assert "more time or memory" in refusal(path)
    assert time.monotonic() - began < 10 * MOST_SECONDS


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not limit the address space")
def test_a_process_that_swells_is_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with saying(monkeypatch, f"bytearray({2 * MOST_MEMORY})"):  # what the interpreter holds free counts too
        assert "more time or memory" in refusal(path)


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/hostname')",
        "__import__('socket').socket()",
        "__import__('os').pipe()",
        "__import__('os').write(__import__('os').memfd_create('x'), b'x')",
    ],
)
def test_a_process_opens_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, attempt: str) -> None:
    with saying(monkeypatch, attempt):
        assert "is not read" in refusal(path)


@pytest.mark.parametrize(
    "attempt", ["__import__('os').read(0, 1)", "__import__('os').fstat(3 + files[0].stream.fileno())"]
)
def test_a_process_has_no_other_descriptors(path: Path, monkeypatch: pytest.MonkeyPatch, attempt: str) -> None:
    with Path(os.devnull).open() as other:
        os.set_inheritable(other.fileno(), True)
        with saying(monkeypatch, attempt):
            assert "is not read" in refusal(path)


def test_a_process_does_not_see_the_current_directory(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "bnsharp_cli", "resource", "zlib", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "json.py"))
    assert read_container(path).kind == "zip"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[",
        b"[]",
        b"[[],[],[],[],[],[]]",
        b'[[["zip",[0],[0]]],[],[],[],[],[]]',
        b'[[["zip",[0],[1]]],[["dict","w",[1]],["dict"]],[],[],[],[]]',
        b'[[["zip",[1],[0]]],[["tensor",0],["dict","w",[0]]],[[0,0,99999999,"little","float32"]],[[0,"float32",0,[4],[1]]],[],[]]',
        b'[[["zip",[1],[0]]],[["tensor",0],["dict","w",[0]]],[[0,0,16,"little","float32"]],[[0,"float32",1,[4],[1]]],[],[]]',
        b'[[["zip",[1],[0]]],[["tensor",0],["dict","w",[0]]],[[0,0,16,"little","float32"]],[[0,"object",0,[4],[1]]],[],[]]',
        b'[[["zip",[1],[0]]],[["tensor",0],["dict","w",[0]]],[[1,0,16,"little","float32"]],[[0,"float32",0,[4],[1]]],[],[]]',
        b'[[["zip",[1],[0]]],[["tensor",0],["dict","w",[0]]],[[0,0,16,"little","float32"]],[[0,"float32",-1,[4],[1]]],[],[]]',
        b'[[["zip",[0],[0]]],[["bytes","!"]],[],[],[],[]]',
        b'[[["zip",[0],[0]]],[["array","float32",[2],false,"AAAA"]],[],[],[],[]]',
    ],
)
def test_what_a_process_says_is_not_believed(path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    with saying(monkeypatch, f"return type('_', (), {{'to_bytes': lambda self: {said!r}}})()"):
        assert "contradicts itself" in refusal(path)


def test_a_refusal_that_a_process_makes_up_cannot_forge_a_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "bad\\nbnsharp: \\x1b[31mall is well \\ue000delta\\ue001"
    with saying(monkeypatch, f"raise limited_child.CheckpointRefusedError('{words}', 'Trust it.')"):
        assert refusal(path).isprintable()


def test_the_reader_loads_nothing_of_torch() -> None:
    loaded = loaded_modules("bnsharp_cli.io.containers.limited_child")
    assert {"torch", "numpy", "safetensors", "typer", "rich"}.isdisjoint(loaded)
