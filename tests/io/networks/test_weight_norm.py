"""Weights that a file keeps as length and direction, put into networks that do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.utils import parametrizations

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.networks.load_weights import load_tensors
from tests.io.checkpoints.test_weights import net, prefixed, weights
from tests.io.networks.test_load_weights import same


@pytest.mark.parametrize("dim", [0, 1, 3, None])
def test_weight_norm_finds_its_dimension(dim: int | None) -> None:
    normed = net()
    parametrizations.weight_norm(normed[0], dim=dim)
    module = net()
    load_tensors(module, prefixed("model.", normed.state_dict()), Path("net.pt"))
    images = torch.randn(2, 3, 4, 4)
    assert torch.equal(module(images), normed(images))
    assert same(module, normed.state_dict())


def test_weight_norm_of_no_dimension_and_what_is_parametrised_otherwise() -> None:
    normed, spectral = net(), net()
    parametrizations.weight_norm(normed[0])
    parametrizations.spectral_norm(spectral[0])
    damaged = {**normed.state_dict(), "0.parametrizations.weight.original0": torch.ones(2, 2)}
    with pytest.raises(CheckpointRefusedError, match=r"'0.weight' has lengths of \(2, 2\), which fit no dimension"):
        load_tensors(net(), damaged, Path("net.pt"))
    with pytest.raises(CheckpointRefusedError, match="parametrised or pruned: build that network yourself"):
        load_tensors(net(), spectral.state_dict(), Path("net.pt"))
    with pytest.raises(
        CheckpointRefusedError, match=r"lacks 0.parametrizations.weight.original0.*has unknown 0.weight"
    ):
        load_tensors(normed, weights(), Path("net.pt"))
