"""Tests that are marked slow: each says why, and names a test that is always run of the same subject."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.everywhere import ROOT, everywhere, tree_of

TESTS = sorted((ROOT / "tests").rglob("*.py"))


def marks(tree: ast.AST) -> list[ast.Attribute]:
    """Each ``pytest.mark.slow``, as a decorator, of a parameter or of a module."""
    slow = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "slow")
    return [node for node in slow if ast.unparse(node) == "pytest.mark.slow"]


def stated(tree: ast.AST) -> list[dict[str, str]]:
    """The keywords of each mark that is called with texts alone."""
    known = marks(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.func in known] if known else []
    return [
        {str(one.arg): one.value.value for one in call.keywords if isinstance(one.value, ast.Constant)}
        for call in calls
        if not call.args
    ]


def always_run(name: str) -> bool:
    """Whether ``tests/…/test_….py::test_…`` is a test that is run without asking; a slow parameter is not all of it."""
    path, _, function = name.partition("::")
    if not path.startswith("tests/") or not (ROOT / path).is_file():
        return False
    body = tree_of(ROOT / path).body
    whole = [node for node in body if isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node.targets[0])]
    named = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == function]
    directly = [getattr(mark, "func", mark) for node in named for mark in node.decorator_list]
    return (
        bool(named) and not any(marks(node) for node in whole) and not any(marks(mark) == [mark] for mark in directly)
    )


@everywhere(TESTS)
def test_a_slow_test_says_why_and_which_quick_test_has_its_subject(path: Path) -> None:
    if "slow" not in path.read_text():
        return
    told = stated(tree_of(path))
    assert len(told) == len(marks(tree_of(path))), 'write pytest.mark.slow(reason="…", quick="tests/….py::test_…")'
    for one in told:
        assert one.keys() == {"reason", "quick"}, f"a mark with {sorted(one)}"
        assert one["reason"].strip(), "a mark without a reason"
        assert always_run(one["quick"]), f"{one['quick']} is not run always"


def test_a_quick_test_is_one_that_is_run_always(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, mark = "tests/test_slow_tests.py", 'pytest.mark.slow(reason="long", quick="")'
    assert always_run(f"{here}::test_a_quick_test_is_one_that_is_run_always")
    assert not always_run(f"{here}::test_that_does_not_exist")
    assert not always_run("tests/test_that_does_not_exist.py::test_it")
    (tmp_path / "tests").mkdir()
    monkeypatch.setattr("tests.test_slow_tests.ROOT", tmp_path)
    for number, (text, run) in enumerate(
        {
            f"@{mark}\ndef test_it(): ...": False,
            f"pytestmark = {mark}\ndef test_it(): ...": False,
            f"@pytest.mark.parametrize('a', [1, pytest.param(2, marks={mark})])\ndef test_it(a): ...": True,
        }.items()
    ):
        (tmp_path / f"tests/test_{number}.py").write_text(text)
        assert always_run(f"tests/test_{number}.py::test_it") is run
        assert stated(ast.parse(text)) == [{"reason": "long", "quick": ""}]
