"""Checkpoints with complex weights by the command: measured as pairs of real numbers, and never made real."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.border.oracle import bn_along_gradient
from tests.cli.helpers import bnsharp, one_error

CODE = """
import torch
from tests.border import test_complex_checkpoints as test

def spectral():
    return test.Spectral()

def real():
    model = test.Spectral()
    model.phase = torch.nn.Parameter(model.phase.detach().real.clone())
    return model

def data(split):
    return [*zip(*test.signals())]
"""
COUNT = 16
GIVEN = ("--data", "mine.py:data", "--samples", COUNT, "--batch-size", COUNT, "--quiet")


class Spectral(nn.Module):
    """Multiplies frequencies by complex weights; ``pairs`` holds them as two real numbers each."""

    def __init__(self, pairs: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lift, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
        phase = 0.5 * torch.randn(5, 8, dtype=torch.complex64)
        self.phase = nn.Parameter(torch.view_as_real(phase) if pairs else phase)

    def forward(self, x: Tensor) -> Tensor:
        phase = self.phase if self.phase.is_complex() or self.phase.ndim == 2 else torch.view_as_complex(self.phase)
        frequencies = torch.fft.rfft(torch.tanh(self.lift(x)), dim=1)
        return self.head(torch.fft.irfft(torch.einsum("nk,kc->nc", frequencies, phase.to(frequencies.dtype)), n=8))


def signals() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(COUNT, 8, generator=generator), torch.randint(4, (COUNT,), generator=generator)


def save(folder: Path, **changed: Tensor) -> None:
    (folder / "mine.py").write_text(CODE)
    torch.save({**Spectral().state_dict(), **changed}, folder / "net.pt")


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_the_value_is_that_of_pairs_of_real_numbers(dtype: torch.dtype, tmp_path: Path) -> None:
    inputs, labels = signals()
    expected = bn_along_gradient(
        Spectral(pairs=True), lambda model: functional.cross_entropy(model(inputs.double()), labels)
    )
    save(tmp_path, phase=Spectral().phase.detach().to(dtype))
    document = json.loads(
        bnsharp("measure", "net.pt", "--arch", "mine.py:spectral", *GIVEN, "--json", folder=tmp_path).stdout
    )
    assert document["measures"]["bn"]["value"] == pytest.approx(expected, rel=2e-3)
    assert document["checkpoint"]["parameters"] == sum(weight.numel() for weight in Spectral(pairs=True).parameters())
    lines = bnsharp("inspect", "net.pt", "--arch", "mine.py:spectral", folder=tmp_path).stdout
    assert str(dtype).removeprefix("torch.") in lines


@pytest.mark.parametrize("arch", ["spectral", "real"])
def test_complex_numbers_are_not_made_real_and_the_reverse(arch: str, tmp_path: Path) -> None:
    save(tmp_path, **({"phase": Spectral().phase.detach().real.clone()} if arch == "spectral" else {}))
    refused = one_error(bnsharp("measure", "net.pt", "--arch", f"mine.py:{arch}", *GIVEN, folder=tmp_path, expect=3))
    assert "'phase' is torch." in refused
    other = {"spectral": "real", "real": "spectral"}[arch]
    bnsharp("measure", "net.pt", "--arch", f"mine.py:{other}", *GIVEN, folder=tmp_path)  # the network's own weights


def test_an_imaginary_part_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    broken = Spectral().phase.detach().clone()
    broken[0, 0] = complex(0, float("nan"))
    save(tmp_path, phase=broken)
    given = ("measure", "net.pt", "--arch", "mine.py:spectral", *GIVEN)
    assert "1 NaN or infinite of 40 values" in one_error(bnsharp(*given, folder=tmp_path, expect=3))
