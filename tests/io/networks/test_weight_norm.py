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


def test_only_parameters_have_length_and_direction() -> None:
    tensors = dict(weights())
    name = next(name for name in tensors if name.endswith("running_var"))
    module, _, attribute = name.rpartition(".")
    variance = tensors.pop(name)
    halves = {f"{name}_g": torch.tensor(-1.0), f"{name}_v": variance}
    with pytest.raises(CheckpointRefusedError, match=f"lacks {module}.{attribute}"):
        load_tensors(net(), {**tensors, **halves}, Path("net.pt"))


@pytest.mark.parametrize("already", [False, True])
def test_a_direction_of_length_zero_is_no_weight(already: bool) -> None:
    normed, module = net(), net()
    parametrizations.weight_norm(normed[0])
    if already:
        parametrizations.weight_norm(module[0])
    tensors = normed.state_dict()
    tensors["0.parametrizations.weight.original1"] = torch.zeros_like(normed[0].weight)
    with pytest.raises(CheckpointRefusedError, match=r"'0\.weight' has \d+ NaN or infinite"):
        load_tensors(module, tensors, Path("net.pt"))
