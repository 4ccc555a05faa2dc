"""Functions of the user's: found in the working directory, and nothing of the process is left changed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.networks.factories import import_factory, run_factory


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a package that imports its neighbour when its function is called."""
    monkeypatch.chdir(tmp_path)
    for name in ("users_networks", "users_layers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "users_layers.py").write_text("WIDTH = 3\n")
    (tmp_path / "users_networks.py").write_text(
        "number = 5\n"
        "def net(depth=1):\n"
        "    import users_layers\n"
        "    return depth * users_layers.WIDTH\n"
        "def fails():\n"
        "    raise SystemExit('no\\nmore')\n"
    )
    return tmp_path


@pytest.mark.parametrize("spec", ["users_networks:net", "users_networks:fails", "users_nothing:net"])
def test_the_search_path_is_left_as_it_was(here: Path, spec: str) -> None:
    before = list(sys.path)
    if spec.endswith(":net") and "nothing" not in spec:
        assert run_factory("arch", spec, depth=2) == 6
    else:
        with pytest.raises(UsageError):
            run_factory("arch", spec)
    assert sys.path == before


def test_what_stood_on_the_search_path_stays(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(here)
    before = list(sys.path)
    assert run_factory("arch", "users_networks:net") == 3
    assert sys.path == before


def test_a_file_imports_nothing_from_the_working_directory(here: Path) -> None:
    before = list(sys.path)
    with pytest.raises(UsageError, match=r"'users_networks.py:net' failed: ModuleNotFoundError"):
        run_factory("arch", "users_networks.py:net")
    assert sys.path == before


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("users_networks:none", r"^Cannot import 'users_networks:none': AttributeError: module 'users_networks'"),
        ("none.py:net", r"^Cannot import 'none.py:net': ImportError: no such file: none.py\."),
        ("users_networks:number", r"^'users_networks:number' is a int, expected a function\. Name a function\.$"),
        ("users\x1b[31m:net", r"^Cannot import 'users\\x1b\[31m:net': ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_imported(here: Path, spec: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        import_factory("arch", spec)
    assert "\x1b" not in str(caught.value)


def test_a_function_that_fails_is_one_line(here: Path) -> None:
    with pytest.raises(UsageError, match=r"^'users_networks:fails' failed: SystemExit: no\. Mend the function\.$"):
        run_factory("arch", "users_networks:fails")
