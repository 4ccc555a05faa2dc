"""Functions of the user's: found in the working directory, and nothing of the process is left changed."""

from __future__ import annotations

import copy
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.data.criteria import open_criterion
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.sources import open_factory
from bnsharp_cli.io.networks.constructors import construct
from bnsharp_cli.io.networks.factories import import_factory, run_factory, users_code


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a package that imports its neighbour when its function is called."""
    monkeypatch.chdir(tmp_path)
    for name in ("users_networks", "users_layers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "users_layers.py").write_text("WIDTH = 3\n")
    (tmp_path / "users_networks.py").write_text(
        "import torch\n"
        "number = 5\n"
        "def net(depth=1):\n"
        "    import users_layers\n"
        "    return depth * users_layers.WIDTH\n"
        "def later(*arguments):\n"
        "    import users_layers\n"
        "    return arguments[0].square().mean() * users_layers.WIDTH\n"
        "class Net(torch.nn.Linear):\n"
        "    def forward(self, inputs):\n"
        "        import users_layers\n"
        "        return super().forward(inputs) / users_layers.WIDTH\n"
        "def layer():\n"
        "    return Net(4, 2)\n"
        "class Examples:\n"
        "    def __init__(self, split):\n"
        "        pass\n"
        "    def __len__(self):\n"
        "        import users_layers\n"
        "        return users_layers.WIDTH\n"
        "    def __getitem__(self, index):\n"
        "        import users_layers\n"
        "        return torch.zeros(1, 2, 2), index\n"
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


@pytest.fixture
def elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same package, seen from another working directory."""
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    return here


@pytest.mark.parametrize(
    "spec", ["../users_networks.py:net", "{}/users_networks.py:net", "../elsewhere/../users_networks.py:net"]
)
def test_a_file_imports_its_neighbours_wherever_the_user_is(elsewhere: Path, spec: str) -> None:
    before = list(sys.path)
    assert run_factory("arch", spec.format(elsewhere)) == 3
    assert sys.path == before


def test_a_file_imports_its_neighbours_while_it_is_loaded(elsewhere: Path) -> None:
    (elsewhere / "at_once.py").write_text("from users_layers import WIDTH\n\ndef net():\n    return WIDTH\n")
    assert run_factory("arch", "../at_once.py:net") == 3


def test_a_file_imports_nothing_from_another_folder(here: Path) -> None:
    """Neither from the working directory, if the file lies elsewhere."""
    (here / "inner").mkdir()
    (here / "users_networks.py").rename(here / "inner/users_networks.py")
    before = list(sys.path)
    with pytest.raises(UsageError, match=r"'inner/users_networks.py:net' failed: ModuleNotFoundError"):
        run_factory("arch", "inner/users_networks.py:net")
    assert sys.path == before


def test_neighbours_of_one_name_in_two_folders_are_not_taken_for_each_other(here: Path) -> None:
    assert run_factory("arch", "users_networks.py:net") == 3
    (here / "inner").mkdir()
    (here / "inner/users_layers.py").write_text("WIDTH = 4\n")
    (here / "inner/data.py").write_text("import users_layers\n\ndef net():\n    return users_layers.WIDTH\n")
    with pytest.raises(UsageError, match=r"inner and .* both have a module users_layers, of which Python imports one"):
        run_factory("data", "inner/data.py:net")


def test_a_file_may_declare_a_dataclass(here: Path) -> None:
    """Which looks for its module among the loaded ones."""
    (here / "settings.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Settings:\n"
        "    width: int = 7\n"
        "def net():\n"
        "    return Settings().width\n"
    )
    assert run_factory("arch", "settings.py:net") == 7


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("users_networks:none", r"^Cannot import 'users_networks:none': AttributeError: module 'users_networks'"),
        ("none.py:net", r"^Cannot import 'none.py:net': ImportError: no such file: none.py\."),
        ("users_networks:number", r"^'users_networks:number' is an int, expected a function\. Name a function\.$"),
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


def forgotten() -> None:
    """As if nobody had imported the neighbour yet."""
    sys.modules.pop("users_layers", None)


def test_a_criterion_imports_its_neighbour_when_it_is_called(here: Path) -> None:
    before = list(sys.path)
    criterion = open_criterion("users_networks:later").criterion
    assert sys.path == before
    assert float(criterion(torch.ones(2), None)) == 3
    assert sys.path == before


def test_a_network_imports_its_neighbour_when_it_runs(here: Path) -> None:
    before = list(sys.path)
    network = copy.deepcopy(construct("users_networks:layer", {}))
    assert sys.path == before
    assert network(torch.ones(1, 4)).shape == (1, 2)
    with pytest.raises(RuntimeError):
        network(torch.ones(1, 3))
    assert sys.path == before


def test_a_data_set_imports_its_neighbour_when_it_is_read(here: Path) -> None:
    before = list(sys.path)
    split = open_factory("users_networks:Examples", "train")
    assert len(split) == 3
    forgotten()
    assert split.load(torch.arange(3), Preprocessing())[1].tolist() == [0, 1, 2]
    assert sys.path == before


def test_threads_leave_the_search_path_as_it_was_together(here: Path) -> None:
    """The first to leave must not take the folder from the others."""
    before, met, inside = list(sys.path), threading.Barrier(2, timeout=10), []

    def run(leaves_first: bool) -> None:
        with users_code("users_networks:net"):
            met.wait()
            if not leaves_first:
                met.wait()
                inside.append(str(here) in sys.path)
        if leaves_first:
            met.wait()

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(run, True), pool.submit(run, False)]:
            each.result()
    assert inside == [True]
    assert sys.path == before


def test_what_a_criterion_takes_is_still_known() -> None:
    assert open_criterion("torch.nn.functional:l1_loss").tensor_only
    assert open_criterion("torch.nn:L1Loss").tensor_only
    assert not open_criterion("math:hypot").tensor_only
