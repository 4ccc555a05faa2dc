"""Rules in two processes: gradients that are averaged give the steps of one process, others are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli

PROGRAM = """
import json, sys
import torch
from torch.nn.parallel import DistributedDataParallel
import bnsharp_cli
from tests.border.test_rules_in_processes import X, Y, flat, loss, network

rank, store, cases = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)

def steps(wrapped, given, scaled):
    module = network()
    parallel = DistributedDataParallel(module)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0) if scaled else None
    rule = bnsharp_cli.Sam(module if given else module.parameters(), lr=0.1, momentum=0.9, rho=0.5, scaler=scaler)
    try:
        for _ in range(3):
            rule.step(lambda: loss(parallel if wrapped else module, X[rank::2], Y[rank::2]))
        return {"weights": flat(module).tolist()}
    except bnsharp_cli.UsageError as error:
        return {"argument": error.argument, "reason": error.reason}

print(json.dumps([steps(*case) for case in cases]))
torch.distributed.destroy_process_group()
"""

torch.manual_seed(0)
X, Y = torch.randn(16, 6).double(), torch.arange(16) % 3


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def loss(module: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(module(inputs), targets)


def flat(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def two_processes(folder: Path, cases: list[tuple[bool, bool, bool]]) -> list[list[dict[str, object]]]:
    """What each of two processes finds in each case, for which they are started once."""
    command = [sys.executable, "-c", PROGRAM]
    running = [
        subprocess.Popen(
            [*command, str(rank), str(folder / "store"), json.dumps(cases)], stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    return [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in running]


def test_two_processes_take_the_steps_of_one_or_are_refused(tmp_path: Path) -> None:
    module = network()
    rule = bnsharp_cli.Sam(module, lr=0.1, momentum=0.9, rho=0.5)
    for _ in range(3):
        rule.step(lambda: loss(module, X, Y))
    averaged, with_parameters_and_scaler = (True, True, False), (True, False, True)
    by_nothing = (False, True, False)
    for *steps, refused in two_processes(tmp_path, [averaged, with_parameters_and_scaler, by_nothing]):
        assert len(steps) == 2
        for found in steps:
            torch.testing.assert_close(torch.tensor(found["weights"], dtype=torch.float64), flat(module))
        assert refused["argument"] == "closure"
        assert refused["reason"] == "The gradients of the processes differ, so nothing has averaged them."
