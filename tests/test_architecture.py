"""The shape of the code: imports run downward, files are short, nothing prints or draws unseeded numbers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import bnsharp_cli

ROOT = Path(bnsharp_cli.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
LEVELS = {
    "errors": 0,
    "core": 1,
    "models": 1,
    "measurement": 2,
    "io": 3,
    "training": 3,
    "api": 3,
    "integrations": 4,
    "report": 4,
    "cli": 5,
    "__main__": 6,
}
LIGHT = {
    "__future__",
    "ast",
    "bnsharp_cli",
    "collections",
    "contextlib",
    "contextvars",
    "dataclasses",
    "functools",
    "io",
    "math",
    "os",
    "pathlib",
    "re",
    "sys",
    "time",
}
LONGEST_FILE = 300
LONGEST_FUNCTION = 45
GLOBAL_RANDOMNESS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"}


def layer(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported(tree: ast.AST) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 40
    assert {layer(path) for path in SOURCES} == {*LEVELS, "__init__"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downward(path: Path) -> None:
    own = layer(path)
    if own == "__init__":
        return
    for name in imported(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] != "bnsharp_cli" or parts[1] not in LEVELS:
            continue
        assert parts[1] == own or LEVELS[parts[1]] < LEVELS[own], f"{own} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and layer(path) != "cli":
            body = [
                part for part in node.body if not isinstance(part, ast.Expr) or not isinstance(part.value, ast.Constant)
            ]
            length = node.end_lineno - body[0].lineno + 1 if body else 0
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_prints_outside_cli_and_report(path: Path) -> None:
    if layer(path) in {"cli", "report"}:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in {"print", "typer.echo", "sys.stdout.write", "sys.stderr.write"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_random_number_is_seeded(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        owner, _, function = called.rpartition(".")
        assert owner != "random", f"{called}: use a torch.Generator"
        assert owner not in {"np.random", "numpy.random"} or node.args, f"{called}: no seed"
        if owner == "torch" and (function in GLOBAL_RANDOMNESS or (function.endswith("_like") and "rand" in function)):
            assert any(keyword.arg == "generator" for keyword in node.keywords), f"{called}: no generator"
        if called == "torch.Generator":
            assert "manual_seed" in path.read_text()


def test_heavy_libraries_are_imported_inside_the_handlers_of_the_command_line() -> None:
    light = LIGHT | {"typer", "typing"}
    for path in (ROOT / "cli").glob("*.py"):
        if path.name in {
            "subject.py",
            "device.py",
            "trainee.py",
            "run.py",
            "cells.py",
            "sameness.py",
        }:  # imported by the handlers only
            continue
        tree = ast.parse(path.read_text())
        top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        assert {name.split(".")[0] for name in imported(top)} <= light, path.name
        inner = [name for name in imported(top) if name.startswith("bnsharp_cli.")]
        assert all(name.split(".")[1] in {"cli", "errors", "__version__"} for name in inner), path.name
