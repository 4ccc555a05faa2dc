"""Networks, containers, losses and labels drawn at random, with the same loss in plain float64 code beside each.

``python -m tests.border.drawn --minutes 15`` searches for longer than the tests do, from another seed each round.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import sys
import time
from typing import Any

import torch
from hypothesis import HealthCheck, given, seed, settings
from torch import nn

import bnsharp_cli
from bnsharp_cli.measurement.surface.adapters import CheckedCriterion, adapt, takes_tensor
from bnsharp_cli.measurement.surface.examination import examined
from bnsharp_cli.measurement.surface.fixed_batches import fixed_batches
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.border.drawing import DRAWN, Drawn, batches, criterion, expected_blocks, network, oracle_loss
from tests.border.oracle import block_length, bn_of_blocks, plain_loss_and_gradient

SINGLE, DOUBLE = 1e-4, 1e-9
ROUND = 100
QUIET = 1e-12
"""Blocks of a smaller share of the gradient have no effect: they add nothing to the value, and θ_* may hold them."""


def agrees(drawn: Drawn) -> None:
    """Hold loss, gradient and value against the oracle.

    Raises:
        AssertionError: one of them is another.
    """
    model, data, loss = network(drawn), batches(drawn), criterion(drawn)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected, slopes = plain_loss_and_gradient(model, oracle_loss(drawn))
    surface = _surface(drawn, model, data, loss)
    value, gradient = surface.value_and_gradient(surface.point())
    close = DOUBLE if drawn.precision == "float64" else SINGLE
    assert abs(value - expected) <= close * max(1.0, abs(expected)), (value, expected)
    size = float(torch.cat([slope.flatten() for slope in slopes.values()]).norm())
    for name, slope in slopes.items():
        assert float((gradient[name] - slope).norm()) <= close * (1 + size), name
    blocks, output = expected_blocks(drawn), options(drawn)
    quiet = sum(block_length(slopes, block) <= QUIET * size for block in blocks)
    assert len(blocks) - quiet <= bnsharp_cli.find_blocks(model, data, loss, **output).invariant <= len(blocks)
    bn = "running" if drawn.running else "batch"
    measured = bnsharp_cli.measure(model, data, loss, bn=bn, precision=drawn.precision, **output)
    limit = bn_of_blocks(model, oracle_loss(drawn), blocks)
    assert measured.value >= (1 - 3e-3) * limit, (measured, limit)
    assert measured.value <= (1 + 3e-2) * limit, (measured, limit)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def options(drawn: Drawn) -> dict[str, Any]:
    """What every entry point is told besides."""
    if drawn.answers == "logits":  # a function of one's own is handed all that the network returns
        return {} if isinstance(criterion(drawn), nn.Module) else {"output": "logits"}
    return {"output": 1} if drawn.answers == "features and scores" else {}


def _surface(drawn: Drawn, model: nn.Module, data: list[Any], loss: Any) -> LossSurface:
    own = copy.deepcopy(model)
    adapt(own, takes_tensor(loss), options(drawn).get("output"))
    dtype = torch.float64 if drawn.precision == "float64" else torch.float32
    checked = CheckedCriterion(loss, "'loss'", torch.device("cpu"))
    return examined(LossSurface.of(own, fixed_batches(data), checked, batch_statistics=not drawn.running, dtype=dtype))


def _round(number: int, examples: int) -> None:
    @seed(number)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(DRAWN)
    def search(drawn: Drawn) -> None:
        agrees(drawn)

    search()


def main() -> None:
    """Search for a number of minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    for number in itertools.count(arguments.seed):
        _round(number, ROUND)
        if time.monotonic() > end:
            break
    tried = ROUND * (number - arguments.seed + 1)
    sys.stderr.write(f"{tried} networks, nothing found; the next seed is {number + 1}.\n")


if __name__ == "__main__":
    main()
