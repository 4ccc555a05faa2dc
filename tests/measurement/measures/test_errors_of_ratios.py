"""The standard error of a mean over tokens of texts of any length: that of a ratio, and what other texts show."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli import DataRefusedError, measure, token_cross_entropy
from bnsharp_cli.measurement.surface.token_loss import IGNORED

TOKENS, LENGTH, SAMPLES = 7, 12, 48


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(TOKENS, 5), nn.Linear(5, TOKENS)).double()


def texts(seed: int) -> tuple[Tensor, Tensor]:
    """Texts of 1 to LENGTH tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(TOKENS, (SAMPLES, LENGTH + 1), generator=generator)
    counts = torch.arange(LENGTH) < torch.randint(1, LENGTH + 1, (SAMPLES, 1), generator=generator)
    return ids[:, :-1], torch.where(counts, ids[:, 1:], IGNORED)


def sums(module: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each text, summed over its tokens, and how many these are."""
    logits = module(inputs).transpose(1, 2)
    return functional.cross_entropy(logits, targets, reduction="none").sum(1).detach(), (targets >= 0).sum(1).double()


def stated_error(module: nn.Module, inputs: Tensor, targets: Tensor, size: int) -> float:
    batches = [*zip(inputs.split(size), targets.split(size), strict=True)]
    found = measure(module, batches, token_cross_entropy, "loss", precision="float64")
    assert found.uncertainty.sampling is not None
    return found.uncertainty.sampling


@pytest.mark.parametrize("size", [4, 24, SAMPLES])
def test_the_error_of_a_loss_over_tokens_is_that_of_a_ratio_however_it_is_cut(size: int) -> None:
    module = network()
    inputs, targets = texts(0)
    losses, counts = sums(module, inputs, targets)
    apart = losses - losses.sum() / counts.sum() * counts
    expected = math.sqrt(SAMPLES / (SAMPLES - 1) * float(apart.square().sum())) / float(counts.sum())
    assert stated_error(module, inputs, targets, size) == pytest.approx(expected, rel=1e-9)


def test_the_error_is_the_spread_over_other_texts() -> None:
    module = network()
    drawn = [sums(module, *texts(seed)) for seed in range(400)]
    spread = float(torch.stack([losses.sum() / counts.sum() for losses, counts in drawn]).std())
    stated = [stated_error(module, *texts(seed), 8) for seed in range(20)]
    assert math.fsum(stated) / len(stated) == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize("empty", [0, 1])
def test_a_batch_without_a_token_that_counts_is_refused(empty: int) -> None:
    inputs, targets = texts(0)
    batches = [(inputs, targets), (inputs, targets)]
    batches[empty] = inputs, torch.full_like(targets, IGNORED)
    with pytest.raises(DataRefusedError, match=f"All targets of batch {empty + 1} are -100"):
        measure(network(), batches, token_cross_entropy, "loss")
    del batches[empty]  # what the remedy says
    assert measure(network(), batches, token_cross_entropy, "loss").value > 0
