"""The state of a run, each field changed, is refused before a byte of the run is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bnsharp_cli.io.checkpoints.run_files import RunFiles
from tests.cli.helpers import bnsharp, one_error
from tests.cli.test_resume import SHORT, fresh


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epoch": -1}, "epoch: expected a whole number from 1 to 3, found -1"),
        ({"epoch": "many"}, "epoch: expected a whole number from 1 to 3, found many"),
        ({"epoch": 10**18}, "epoch: expected a whole number from 1 to 3, found 1000000000000000000"),
        ({"epoch": torch.tensor(2)}, "epoch: expected a whole number from 1 to 3, found Tensor"),
        ({"gradients": 10**18}, "gradients: expected 9, found 1000000000000000000"),
        ({"order": torch.zeros(3)}, "order is of another shape"),
        ({"order": torch.zeros(5056)}, "order is of another type of numbers"),
        ({"order": torch.zeros(5056, dtype=torch.uint8)}, "order is not that of the examples after so many epochs"),
        ({"run": [1]}, "run: expected a mapping, found list"),
        ({"run": {"--epochs": torch.zeros(3)}}, "run: expected plain values, found Tensor"),
        ({"run": {"--epochs": [0] * 20_000}}, "run: it holds more than the options of a run"),
        ({"run": {"--epochs": "3"}}, "--epochs: expected a whole number from 1 to"),
        ({"state_dict": {}}, "1.weight is missing"),
        ({"state_dict": []}, "state_dict: expected a mapping, found list"),
        ({"state_dict.more": torch.zeros(2)}, "state_dict: more is nothing that such a run writes"),
        ({"state_dict.1.weight": torch.zeros(6, 65)}, "1.weight is of another shape"),
        ({"state_dict.1.weight": torch.zeros(6, 64).double()}, "1.weight is of another type of numbers"),
        ({"state_dict.1.weight": torch.full((6, 64), torch.nan)}, "1.weight holds NaN"),
        ({"state_dict.1.weight": "x"}, "1.weight: expected a tensor, found x"),
        (
            {"rule.state": {0: {"momentum_buffer": torch.zeros(1)}}},
            "momentum_buffer of parameter 0 is of",
        ),
        ({"rule.state": {0: {"momentum_buffer": torch.full((6, 64), torch.inf)}}}, "holds NaN or infinite numbers"),
        ({"rule.state": {0: {"exp_avg": torch.zeros(6, 64)}}}, "state: exp_avg is nothing that such a run writes"),
        ({"rule.state": {99: {}}}, "state: it is not of the parameters of this network"),
        ({"rule.param_groups": [{}, {}]}, "param_groups: expected one group of settings, found list"),
        ({"group.maximize": True}, "maximize: expected False, found True"),
        ({"group.momentum": 0.5}, "momentum: expected 0.9, found 0.5"),
        ({"group.weight_decay": torch.zeros(3)}, "weight_decay: expected 0.0, found Tensor"),
        ({"group.steps": 10**18}, "steps: expected 9, found 1000000000000000000"),
        ({"group.hook": 1}, "param_groups: hook is nothing that such a run writes"),
        ({"precision": {"scale": 0.0}}, "precision: scale is nothing that such a run writes"),
        ({"best": None}, "best: expected a mapping, found None"),
        ({"best": {"epoch": 4, "loss": 0.5, "accuracy": 0.5}}, "epoch: expected a whole number from 1 to 3, found 4"),
        ({"best": {"epoch": 1, "loss": float("nan"), "accuracy": 0.5}}, "loss: expected a finite number, found nan"),
        ({"best": {"epoch": 1, "loss": 0.5, "accuracy": 7.0}}, "accuracy: expected a number in [0, 1], found 7.0"),
        ({"best": {"epoch": 1, "loss": 0.5, "accuracy": 0.5}}, "best: the best epoch is "),
        ({"best.more": 1}, "best: more is nothing that such a run writes"),
        ({"versions.more": 1}, "versions: more is nothing that such a run writes"),
        ({"more": 1}, "state: more is nothing that such a run writes"),
        ({"rule.state": {}}, "momentum_buffer of parameter 0 is missing"),
        ({"run.--seed": False}, "is of a run with other options: --seed False (now 0)"),
        ({"run.--nesterov": 0}, "is of a run with other options: --nesterov 0 (now False)"),
        ({"tracker": {"mlflow:x": "../../y"}}, "tracker: expected a name of a run, found ../../y"),
        ({"tracker": {"mlflow:x": ".."}}, "tracker: expected a name of a run, found .."),
        ({"versions": {"torch": ["\x1b[31m"], "threads": 1}}, "torch: expected a version, found list"),
        ({"versions": {"torch": "2", "threads": "\x1b[31m\n"}}, "threads: expected a whole number"),
        ({"metrics": 1}, "metrics: expected the length of 3 lines of figures, found 1"),
        ({"state_dict.2.running_var": torch.full((6,), -1e-6)}, "2.running_var has a negative variance"),
        ({"metrics": -1}, "metrics: expected a whole number"),
        ({"metrics": "1"}, "metrics: expected a whole number"),
        ({"metrics": 10**6}, "run.metrics.jsonl has lost lines"),
        ({"format": "another"}, "is not the state of a training run"),
    ],
)
def test_a_state_that_is_none_is_refused_in_one_line(tmp_path: Path, change: dict[str, object], says: str) -> None:
    """Before a byte is written or removed: the leftovers of a killed run neither."""
    folder = fresh(tmp_path / "run")
    bnsharp(*SHORT, folder=folder)
    content = {**RunFiles(folder / "run.pt").load_state()}
    for name, value in change.items():
        part, _, entry = name.partition(".")
        if part == "group":
            content["rule"] = {
                **content["rule"],
                "param_groups": [{**content["rule"]["param_groups"][0], entry: value}],
            }
        else:
            content[part] = {**content[part], entry: value} if entry else value
    torch.save(content, folder / "run.state")
    (folder / f".run.pt.{16 * '0'}.part").touch()
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    code = 2 if change.get("metrics") == 10**6 or "other options" in says else 3
    line = one_error(bnsharp(*SHORT, folder=folder, expect=code))
    assert says in line
    assert line.isprintable()
    assert code == 2 or "run.state is not the state of " in line
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"epoch": 2.5}', "the figures of epoch 2 are of something else"),
        ('{"epoch": true}', "the figures of epoch 2 are of something else"),
        ("[]", "the figures of epoch 2 are of something else"),
        ("{", "the figures of epoch 2 are no JSON"),
        ('{"epoch": 2, "epoch": 2}', "the figures of epoch 2 are no JSON"),
        ('{"epoch": 2, "test_loss": "x"}', "loss: expected a finite number, found x"),
        ('{"epoch": 2, "test_loss": 0.0, "test_accuracy": 1.0}', "best: the best epoch is 2"),
    ],
)
def test_figures_that_do_not_bear_the_state_out_are_refused(tmp_path: Path, line: str, says: str) -> None:
    folder = fresh(tmp_path / "run")
    bnsharp(*SHORT, folder=folder)
    figures = folder / "run.metrics.jsonl"
    first, second, third = figures.read_bytes().splitlines(keepends=True)
    figures.write_bytes(first + line.encode().ljust(len(second) - 1) + b"\n" + third)
    assert says in one_error(bnsharp(*SHORT, folder=folder, expect=3))


def test_a_file_of_figures_with_gibibytes_behind_them_is_refused(tmp_path: Path) -> None:
    folder = fresh(tmp_path / "run")
    bnsharp(*SHORT, folder=folder)
    with (folder / "run.metrics.jsonl").open("ab") as stream:
        stream.truncate(2**32)
    assert "run.metrics.jsonl cannot be read: File too large" in one_error(bnsharp(*SHORT, folder=folder, expect=3))


def test_a_state_with_code_in_it_is_refused_unread(tmp_path: Path) -> None:
    folder = fresh(tmp_path / "run")
    torch.save({"format": "bnsharp-run/1", "epoch": Path("x"), "hook": print}, folder / "run.state")
    assert "state: hook is nothing that such a run writes" in one_error(bnsharp(*SHORT, folder=folder, expect=3))
