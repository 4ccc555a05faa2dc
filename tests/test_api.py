"""Three lines in a notebook."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

import bnsharp_cli
from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.data import Batches
from tests.cases import mlp_bn, vectors


def test_measure_is_what_the_command_measures(sample_network: nn.Module, digit_batches: Batches) -> None:
    result = bnsharp_cli.measure(sample_network, digit_batches.batches)
    assert result.name == "bn"
    assert result.value == pytest.approx(result.details["limit"], rel=0.05)
    assert json.dumps(result.to_dict())


def test_a_criterion_of_the_users_and_running_statistics() -> None:
    torch.manual_seed(0)
    module = mlp_bn()
    inputs, _ = vectors()[0]
    batches = [(inputs, torch.zeros(len(inputs), 3))]
    result = bnsharp_cli.measure(module, batches, nn.functional.mse_loss, bn="running", delta=1e-2, power=1.0)
    assert result.details["delta"] == 1e-2
    assert result.value > 0


def test_a_generator_of_batches_is_read_once() -> None:
    torch.manual_seed(0)
    result = bnsharp_cli.measure(mlp_bn(), (batch for batch in vectors()), name="delta-linf")
    assert result.value > 0


def test_rescale_test_gives_the_verdict() -> None:
    torch.manual_seed(0)
    report = bnsharp_cli.rescale_test(mlp_bn(), vectors(), delta=1e-3)
    assert report.invariant
    assert len(report.copies) == 11


@pytest.mark.parametrize(
    ("options", "says"),
    [({"name": "flatness"}, "name: expected one of"), ({"bn": "x"}, "bn: expected batch"), ({"delta": 0}, "--delta")],
)
def test_arguments_that_cannot_be_meant(options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        bnsharp_cli.measure(mlp_bn(), vectors(), **options)
    with pytest.raises(UsageError, match="at least one"):
        bnsharp_cli.measure(mlp_bn(), [])


def test_the_package_itself_is_light() -> None:
    code = (
        "import bnsharp_cli, sys; assert 'torch' not in sys.modules; bnsharp_cli.measure; assert 'torch' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu_within_rounding(sample_network: nn.Module, digit_batches: Batches) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and torch sees none")
    on_cpu = bnsharp_cli.measure(sample_network, digit_batches.batches, precision="float64")
    on_gpu = bnsharp_cli.measure(sample_network, digit_batches.batches, precision="float64", device="cuda")
    assert on_gpu.value == pytest.approx(on_cpu.value, rel=1e-9)
