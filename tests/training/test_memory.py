"""The memory that a step of Algorithm 1 takes."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.training.registry import SgdsOptions
from bnsharp_cli.training.sgds import Sgds


@pytest.mark.parametrize("steps", [0, 3])
def test_it_holds_two_copies_of_the_parameters_more_than_sgd(steps: int) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(300, 300, bias=False), nn.BatchNorm1d(300), nn.Linear(300, 300))
    inputs, targets = torch.randn(4, 300), torch.randint(300, (4,))
    blocks = bnsharp_cli.find_blocks(module, [(inputs, targets)])
    size = sum(parameter.nbytes for parameter in module.parameters())
    peaks = []
    for coefficient in (0.0, 0.1):
        options = SgdsOptions(coefficient=coefficient, search_steps=steps)
        rule = Sgds(module, blocks, 0.1, momentum=0.9, options=options)
        step = functools.partial(rule.step, lambda: functional.cross_entropy(module(inputs), targets))
        step()
        rule.zero_grad()
        peaks.append(max(_live_bytes(step)))
    largest = max(parameter.nbytes for parameter in module.parameters())
    assert peaks[1] - peaks[0] <= 2 * size + 1.1 * largest  # one tensor at a time is on its way


def _live_bytes(work: functools.partial[Tensor]) -> Iterator[int]:
    """Bytes that torch's allocator has given out since the start, after each of its calls."""
    with torch.profiler.profile(profile_memory=True) as profile:
        work()
    live = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            yield live
