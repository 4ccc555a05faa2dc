"""The shape of the code: imports run downward, files are short, nothing prints or draws unseeded numbers."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.everywhere import everywhere, tree_of

ROOT = Path(__file__).parents[1] / "bnsharp_cli"
SOURCES = sorted(ROOT.rglob("*.py"))
PROGRAMS = sorted(path for folder in ("benchmarks", "tools") for path in (ROOT.parent / folder).rglob("*.py"))
LEVELS = {
    "errors": 0,
    "option_records": 1,
    "figures": 1,
    "core": 2,
    "models": 2,
    "measurement.surface": 3,
    "measurement.blocks": 4,
    "measurement.measures": 5,
    "measurement.invariance": 6,
    "measurement.bound": 6,
    "measurement.comparison": 6,
    "measurement.landscape": 6,
    "measurement.decision": 7,
    "measurement.audit": 7,
    "io.files": 7,
    "listeners": 8,
    "io.containers.pickle_reader": 7,
    "io.containers": 8,
    "io.checkpoints": 9,
    "io.networks": 10,
    "io.data": 11,
    "training": 11,
    "api": 11,
    "api_generalization": 12,
    "api_invariance": 12,
    "integrations": 12,
    "report": 13,
    "workflows": 14,
    "cli": 15,
    "integrations.network_assertions": 15,
    "integrations.pytest_plugin": 16,
    "__main__": 16,
}
"""Imports run from a higher level to a lower one, or stay inside one package."""

HEAVY = ("torch", "numpy", "scipy", "sklearn", "PIL", "matplotlib", "rich", "torchvision", "timm", "transformers")
"""Libraries that cost more time than ``--help`` and completion may take."""

ABOUT_NO_ARGUMENT = {
    "cli.main": 1,  # stdout is closed
    "workflows.torchrun": 2,  # how many processes were started, and an environment variable
}
"""Modules with usage errors that no argument of Python is to blame for, and how many."""
ONE_FOR_EACH = {"EXAMPLE"}
"""Names that several modules define for the same purpose: each command has its example."""

LOADED_BEFORE = {
    "cli.main": ("bnsharp_cli.workflows",),  # the allocator, which is ours and imports nothing heavy
    "core.point": ("torch",),  # a function of tensors
    "io.networks.known_networks": ("transformers",),  # a function of its classes
    "workflows.torchrun": ("torch",),  # a function that leaves a group of torch's processes
}
"""What modules import inside functions without harm, mostly because somebody has always imported it before."""

LONGEST_FILE = 300
LONGEST_FUNCTION = 35
GLOBAL_RANDOMNESS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"}


def module_of(path: Path) -> str:
    """``measurement.surface.norms`` for its file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") or "__init__"


def package_of(module: str) -> str:
    """The longest name in ``LEVELS`` that ``module`` lies in, or its first part."""
    parts = module.split(".")
    within = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in within if name in LEVELS), parts[0])


@cache
def modules() -> set[str]:
    """All of ours."""
    return {module_of(source) for source in SOURCES}


@cache
def dependencies(path: Path) -> set[str]:
    """The modules of ours that a file imports, those inside functions and for type checkers too."""
    known = modules()
    found = set()
    for name in imported(tree_of(path)):
        first, _, rest = name.partition(".")
        if first == "bnsharp_cli":
            found.add(rest if rest in known else rest.rpartition(".")[0])
    return found & known


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
    assert len(PROGRAMS) > 10
    outer = {name.partition(".")[0] for name in LEVELS}
    assert {package_of(module_of(path)) for path in SOURCES} - outer - {"__init__"} == {*LEVELS} - outer
    assert {module_of(path).partition(".")[0] for path in SOURCES} == {*outer, "__init__"}


def test_every_file_that_breaks_a_rule_is_named() -> None:
    broken, whole, other = SOURCES[:3]

    @everywhere([broken, whole, other])
    def rule(path: Path) -> None:
        assert path == whole, f"not {whole.name}"

    with pytest.raises(pytest.fail.Exception) as caught:
        rule()
    names = [f"{path.relative_to(ROOT.parent)}: not {whole.name}" for path in (broken, other)]
    assert str(caught.value).splitlines() == names


@everywhere(SOURCES)
def test_imports_run_downward(path: Path) -> None:
    own = package_of(module_of(path))
    if path.name == "__init__.py":
        return
    for module in dependencies(path):
        other = package_of(module)
        assert other == own or LEVELS[other] < LEVELS[own], f"{own} imports {module}"


def test_no_import_runs_in_a_circle() -> None:
    """Nowhere, inside a package neither, and not for type checkers."""
    waiting = {module_of(path): dependencies(path) - {module_of(path)} for path in SOURCES}
    while waiting:
        free = [module for module, needed in waiting.items() if not needed & {*waiting}]
        assert free, f"a circle among {', '.join(sorted(waiting))}"
        for module in free:
            del waiting[module]


@everywhere([*SOURCES, *PROGRAMS])
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef):
            body = [
                part for part in node.body if not isinstance(part, ast.Expr) or not isinstance(part.value, ast.Constant)
            ]
            length = node.end_lineno - body[0].lineno + 1 if body else 0
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


@everywhere(sorted((ROOT.parent / "tests").rglob("*.py")))
def test_files_of_tests_are_short(path: Path) -> None:
    assert path.read_text().count("\n") <= LONGEST_FILE


def defined(path: Path) -> set[str]:
    """The public classes and constants of a module."""
    names = set()
    for node in tree_of(path).body:
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        for target in node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]:
            if isinstance(target, ast.Name):
                names.add(target.id)
    return {name for name in names if not name.startswith("_")}


def test_no_public_class_or_constant_has_the_name_of_another() -> None:
    count = Counter(name for path in SOURCES for name in defined(path))
    assert {name for name, times in count.items() if times > 1} == ONE_FOR_EACH


@everywhere(SOURCES)
def test_nothing_prints_outside_cli_report_and_listeners(path: Path) -> None:
    if package_of(module_of(path)) in {"cli", "report", "listeners"}:
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in {"print", "typer.echo", "sys.stdout.write", "sys.stderr.write"}


@everywhere(SOURCES)
def test_every_random_number_is_seeded(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
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


def test_the_command_starts_without_heavy_libraries() -> None:
    probe = f"import sys, bnsharp_cli.cli.main; print(*(name for name in {HEAVY} if name in sys.modules))"
    finished = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert finished.stdout.split() == []


@everywhere(SOURCES)
def test_libraries_are_imported_away_from_the_working_directory(path: Path) -> None:
    """Where an import waits inside a function, it may be the first one of its library."""
    tree = tree_of(path)
    away = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.With) and any("importing_libraries()" in ast.unparse(item) for item in block.items)
        for node in ast.walk(block)
    }
    ours = {"bnsharp_cli.workflows", "bnsharp_cli.report"} if package_of(module_of(path)) == "cli" else set()
    heavy = {*HEAVY, *ours}.difference(LOADED_BEFORE.get(module_of(path), ()))
    waiting = [
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom) and any(name.startswith((*heavy,)) for name in imported(node))
    ]
    assert [f"line {node.lineno}" for node in waiting if node not in away] == []


@everywhere(SOURCES)
def test_only_the_command_line_knows_its_parser(path: Path) -> None:
    if package_of(module_of(path)) != "cli":
        assert not any(name.partition(".")[0] == "typer" for name in imported(tree_of(path)))


@everywhere(SOURCES)
def test_a_usage_error_says_which_argument_it_is_about(path: Path) -> None:
    silent = [
        node.lineno
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("UsageError")
        and not {keyword.arg for keyword in node.keywords} & {"argument", None}  # None stands for **fields
    ]
    assert len(silent) == ABOUT_NO_ARGUMENT.get(module_of(path), 0), f"lines {silent}"


@everywhere([path for path in SOURCES if "io" in path.parts])
def test_a_refusal_that_begins_with_its_file_says_so(path: Path) -> None:
    """So that whoever puts the file in front of a reason does not name it twice."""
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) != "CheckpointRefusedError" or not node.args:
            continue
        begins = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else None
        if isinstance(begins, ast.FormattedValue) and ast.unparse(begins.value).startswith("shown_path("):
            assert "subject" in {keyword.arg for keyword in node.keywords}, f"line {node.lineno}"
