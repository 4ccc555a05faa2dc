"""The command is run where a stranger's files lie: it reads what the user named there, and no more."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bnsharp_cli.io.checkpoints.checkpoint import save_checkpoint
from bnsharp_cli.io.files.importing import importing_libraries, stay_away_from_the_working_directory
from tests.test_architecture import HEAVY

SAMPLE = "sample:digits-small-batch"
FAST = ("--samples", "64", "--batch-size", "64", "--quiet")
RAN = "ran.txt"
CODE = f"open({RAN!r}, 'w').close()\n"
STARTING_PYTHON = {
    name.partition(".")[0]
    for name in subprocess.run(
        [sys.executable, "-I", "-c", "import runpy, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
}
"""What ``python -m`` itself imports before it runs anything of ours."""
TEXTS = ("matplotlibrc", ".env", "pyproject.toml", "setup.cfg", "_ops.py", "_classes.py", "results.jsonl")
LEVELS = (".", *(f"glibc-hwcaps/x86-64-v{level}" for level in (2, 3, 4)))
LIBRARY = f"""#include <stdio.h>
__attribute__((constructor)) static void run(void) {{ FILE *ran = fopen("{RAN}", "w"); if (ran) fclose(ran); }}
"""
COMMANDS = {
    "measure": (("measure", SAMPLE, *FAST, "--plot", "x.png", "--output", "x.json"), {"x.png", "x.json"}),
    "inspect": (("inspect", "net.pt"), {"net.pt"}),
    "figure": (("figure", "profile", SAMPLE, *FAST, "--plot", "x.svg", "--values", "x.csv"), {"x.svg", "x.csv"}),
    "check": (("check", SAMPLE, *FAST), set[str]()),
    "train": (
        ("train", "--epochs", "1", "--quiet", "--output", "x.pt"),
        {"x.pt", "x.best.pt", "x.state", "x.metrics.jsonl"},
    ),
    "timm": (("measure", SAMPLE, *FAST, "--arch", "timm:resnet18"), set[str]()),
}
"""What is run, and the names of the files that it may open in the working directory."""
WATCHED = f"""
import json, os, sys
folder, opened, imported = os.getcwd(), set(), {{}}

def watch(event, arguments):
    if event in ("open", "os.listdir", "os.scandir", "ctypes.dlopen") and isinstance(arguments[0], str | bytes):
        path = os.path.normpath(os.path.join(os.getcwd(), os.fsdecode(arguments[0])))
        if path.startswith(folder):
            opened.add(path[len(folder) + 1:])
    if event == "import" and arguments[0] in {HEAVY!r}:
        imported.setdefault(arguments[0], os.getcwd())

sys.addaudithook(watch)
from bnsharp_cli.cli.main import main
try:
    main()
finally:
    where = sys.argv[0]
    with open(where, "w") as stream:
        json.dump([sorted(opened), imported], stream)
"""


def hostile(folder: Path, sample_path: Path) -> Path:
    """A working directory in which a stranger has left what libraries look for."""
    folder.mkdir()
    for name in TEXTS:
        (folder / name).write_text("figure.facecolor: red\n")
    (folder.parent / "evil.c").write_text(LIBRARY)
    for level in LEVELS if shutil.which("cc") else ():
        (folder / level).mkdir(parents=True, exist_ok=True)
        command = ["cc", "-shared", "-fPIC", "-o", folder / level / "libcuda.so.1", folder.parent / "evil.c"]
        subprocess.run(command, check=True)
    for name in (*sys.stdlib_module_names, *HEAVY, "typer", "click", "sitecustomize"):
        if name not in STARTING_PYTHON and not name.startswith("_"):
            (folder / f"{name}.py").write_text(CODE)
    shutil.copy(sample_path, folder / "net.pt")
    return folder


def run(
    *arguments: str, folder: Path, options: tuple[str, ...] = ("-m", "bnsharp_cli"), **environment: str
) -> subprocess.CompletedProcess[str]:
    path = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, *options, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


FURTHER = pytest.mark.slow(
    reason="a process for each command, which imports torch",
    quick="tests/cli/test_working_directory.py::test_nothing_is_opened_that_was_not_named",
)


@pytest.mark.parametrize(
    "name", [name if name in {"measure", "timm"} else pytest.param(name, marks=FURTHER) for name in COMMANDS]
)
def test_nothing_is_opened_that_was_not_named(tmp_path: Path, sample_path: Path, name: str) -> None:
    arguments, expected = COMMANDS[name]
    folder = hostile(tmp_path / "here", sample_path)
    program = f"import sys; sys.argv[0] = {str(tmp_path / 'seen')!r}\n{WATCHED}"
    finished = run(*arguments, folder=folder, options=("-P", "-c", program), PYTORCH_NVML_BASED_CUDA_CHECK="1")
    assert finished.returncode == (3 if name == "timm" else 0), finished.stderr
    opened, imported = json.loads((tmp_path / "seen").read_text())
    named = {re.sub(r"^\.(.*)\.\w{16}\.part$", r"\1", one) for one in opened}
    always = {"", "pyproject.toml"}  # the folder is listed to remove what a killed run left; the file may have options
    assert named - always == expected
    assert {"torch", "numpy"} | ({"timm"} & {name}) <= set(imported)
    assert str(folder) not in imported.values(), imported
    assert not (folder / RAN).exists()


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_library_would_run_if_the_loader_found_it(tmp_path: Path, sample_path: Path) -> None:
    """Without a driver of the system's own, where a library that torch needs has an empty part in its search path."""
    folder = hostile(tmp_path / "here", sample_path)
    finished = run(folder=folder, options=("-P", "-c", "import torch"))
    if not (folder / RAN).exists():
        pytest.skip("this torch looks for no library in the working directory")
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow(
    reason="starts two processes",
    quick="tests/cli/test_working_directory.py::test_nothing_is_opened_that_was_not_named",
)
def test_matplotlib_is_not_told_there_how_to_draw(tmp_path: Path) -> None:
    arguments = ("measure", SAMPLE, *FAST, "--plot", "x.svg")
    for name, content in (("a", ""), ("b", "text.color: red\nsvg.fonttype: none\n")):
        (tmp_path / name).mkdir()
        if content:
            (tmp_path / name / "matplotlibrc").write_text(content)
        assert run(*arguments, folder=tmp_path / name, SOURCE_DATE_EPOCH="0").returncode == 0
    drawn = [re.sub(r"[mp][0-9a-f]{10}|[a-f0-9]{32}", "", (tmp_path / one / "x.svg").read_text()) for one in "ab"]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("options", [("-m", "bnsharp_cli"), ("-P", "-m", "bnsharp_cli")], ids=["-m", "-P -m"])
@pytest.mark.slow(
    reason="starts two processes",
    quick="tests/cli/test_working_directory.py::test_nothing_is_opened_that_was_not_named",
)
def test_no_module_is_imported_from_there(tmp_path: Path, sample_path: Path, options: tuple[str, ...]) -> None:
    folder = hostile(tmp_path / "here", sample_path)
    if "-P" in options:
        for name in STARTING_PYTHON:
            (folder / f"{name}.py").write_text(CODE)
    finished = run("measure", "net.pt", *FAST, "--plot", "x.png", folder=folder, options=options)
    assert finished.returncode == 0, finished.stderr
    assert not (folder / RAN).exists()


def test_the_users_own_code_is_found_there_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/net.py").write_text(
        "import mine.width\nfrom torch import nn\n\n"
        "def net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, mine.width.WIDTH))\n"
    )
    (tmp_path / "mine/width.py").write_text("WIDTH = 10\n")
    weights = {"1.weight": [[0.0] * 64] * 10, "1.bias": [0.0] * 10}
    import torch

    save_checkpoint(tmp_path / "x.pt", {name: torch.tensor(value) for name, value in weights.items()}, data="digits")
    for options in (("-m", "bnsharp_cli"), ("-P", "-m", "bnsharp_cli")):
        finished = run("inspect", "x.pt", "--arch", "mine.net:net", folder=tmp_path, options=options)
        assert finished.returncode == 0, finished.stderr


def test_a_program_keeps_its_working_directory(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path), importing_libraries():
        assert Path.cwd() == tmp_path


def test_the_working_directory_is_back_whatever_happens(tmp_path: Path) -> None:
    elsewhere: list[Path] = []

    def visit() -> None:
        stay_away_from_the_working_directory()
        with contextlib.suppress(ImportError), importing_libraries():
            elsewhere.append(Path.cwd())
            (tmp_path / "here").rename(tmp_path / "renamed")
            raise ImportError
        elsewhere.append(Path.cwd())

    (tmp_path / "here").mkdir()
    with contextlib.chdir(tmp_path / "here"):
        thread = threading.Thread(target=visit)  # has a context of its own, so that this one does not stay away
        thread.start()
        thread.join()
        assert elsewhere == [Path(sys.prefix).resolve(), tmp_path / "renamed"]
        with importing_libraries():
            assert Path.cwd() == tmp_path / "renamed"
        os.chdir(tmp_path)
