"""The stated rounding: against float64, another order of the same samples, and another number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from bnsharp_cli.core.point import on_segment
from bnsharp_cli.measurement.audit.audited_value import AuditedValue
from bnsharp_cli.measurement.audit.finding import CannotSayError, Finding
from bnsharp_cli.measurement.audit.integral import SAME_LOSS
from bnsharp_cli.measurement.audit.segment_truth import gauss_mean
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.surface.data_stream import Batch, Stream
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

NODES = 16
ORDERS = 2
"""Permutations that are tried."""


def audit_rounding(audited: AuditedValue) -> Finding:
    """Losses as they were measured against plain ones in float64, by one rule along the measured direction.

    The rule has the same error for both, so what is left is the rounding of the losses.
    """
    point, direction, options = audited.point, audited.direction, audited.options
    surface = audited.surface.in_precision(audited.dtype)
    loss = surface.value(point)

    def rounded(t: float) -> float:
        return surface.value(on_segment(point, direction, t)) - loss

    plain = audited.plain.changes(point, direction)
    found, exact = (gauss_mean(changes, options.delta, options.power, NODES) for changes in (rounded, plain))
    precision = str(audited.dtype).removeprefix("torch.")
    sentence = f"losses in {precision} against plain ones in float64, along the same direction"
    return Finding.compared("rounding", audited.rounding_beside_plain, abs(found - exact), sentence)


def audit_order(audited: AuditedValue) -> Finding:
    """The whole measurement with the batches in another order, and the samples inside each of them."""
    surface = audited.surface
    loss = surface.in_precision(torch.float64).value(audited.point)
    remeasured = []
    for number in range(ORDERS):
        other = reordered(surface, audited.options.seed + 1 + number)
        if abs(other.in_precision(torch.float64).value(audited.point) - loss) > SAME_LOSS * (1 + abs(loss)):
            raise CannotSayError("the loss depends on the order of the samples in a batch")
        remeasured.append(audited.measured_on(other))
    return _repeated("order", audited, remeasured, f"measured anew with the samples in {ORDERS} other orders")


def audit_threads(audited: AuditedValue) -> Finding:
    """The whole measurement with another number of threads."""
    if audited.surface.device.type != "cpu":
        raise CannotSayError(f"{audited.surface.device} computes, not threads")
    before = torch.get_num_threads()
    other = 1 if before > 1 else 2
    with _threads(other):
        again = audited.measured_on(audited.surface)
    return _repeated("threads", audited, [again], f"measured anew with {other} threads instead of {before}")


def _repeated(name: str, audited: AuditedValue, others: list[Measurement], sentence: str) -> Finding:
    """The worst of several repetitions; each value has a rounding error of its own, so the two add up."""

    def deviation(other: Measurement) -> tuple[float, float]:
        stated = audited.rounding + (other.uncertainty.rounding or 0.0)
        return abs(other.value - audited.measured.value), stated

    found, stated = max(map(deviation, others), key=lambda pair: pair[0] - pair[1])
    return Finding.compared(name, stated, found, f"{sentence}; both values round, so both errors count")


def reordered(surface: LossSurface, seed: int) -> LossSurface:
    """The same batches in another order, and in each of them the same samples in another order.

    Raises:
        CannotSayError: the inputs of a batch are no single tensor.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(surface.count, generator=generator).tolist()
    seeds = torch.randint(2**31, (surface.count,), generator=generator).tolist()

    def read(number: int) -> Batch:
        return _shuffled(stored(order[number]), seeds[number])

    whole = surface.batches
    stored = whole.read if isinstance(whole, Stream) else whole.__getitem__
    batches = replace(whole, read=read) if isinstance(whole, Stream) else tuple(map(read, range(surface.count)))
    return replace(surface, batches=batches, sizes=surface.sizes and surface.sizes.in_order(order))


def _shuffled(batch: Batch, seed: int) -> Batch:
    inputs, targets = batch
    if not isinstance(inputs, Tensor) or len(inputs) != len(targets):
        raise CannotSayError("the samples of a batch cannot be put in another order")
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed)).to(inputs.device)
    return inputs[order], targets[order]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
