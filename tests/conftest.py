"""Shared fixtures: small networks on real digits, read once."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command does, and before torch is imported
if "PYTEST_XDIST_WORKER" in os.environ:  # one thread each: threads of several processes starve each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from torch import nn

from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from bnsharp_cli.io.data.batches import DrawnBatches, draw_batches
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.networks.load_weights import load_weights
from bnsharp_cli.io.networks.network_identity import build_architecture
from bnsharp_cli.measurement.invariance import rescale_test
from bnsharp_cli.measurement.invariance.options import DECADES, RANDOM_COPIES
from tests.cases import trained
from tests.kept import keep_digits, keep_parser
from tests.simulated.backend import register

keep_digits()
keep_parser()
register()  # before the first backward pass of the process

for variable in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
    os.environ.pop(variable, None)


@pytest.fixture(scope="session")
def sample_path() -> Path:
    return embedded_checkpoint()


@pytest.fixture
def sample_network(sample_path: Path) -> nn.Module:
    checkpoint = load_checkpoint(sample_path)
    module = build_architecture(checkpoint.metadata["architecture"], checkpoint.metadata["architecture_options"])
    load_weights(module, checkpoint)
    return module


@pytest.fixture(scope="session")
def digit_batches(sample_path: Path) -> DrawnBatches:
    preprocessing = Preprocessing.from_dict(load_checkpoint(sample_path).metadata["preprocessing"])
    return draw_batches(open_data("digits"), 512, 256, 0, preprocessing)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20191)


@pytest.fixture(scope="session")
def tiny() -> nn.Sequential:
    return trained(nn.ReLU())


@pytest.fixture
def few_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rescale test with the strongest uniform scalings, and one random copy, for tests of something else."""
    ends = {decade: DECADES[decade] for decade in (min(DECADES), max(DECADES))}
    monkeypatch.setattr(rescale_test, "DECADES", ends)
    monkeypatch.setattr(rescale_test, "RANDOM_COPIES", RANDOM_COPIES[:1])
