"""The arithmetic that surroundings cannot change: whatever modes and switches a program has set, the numbers agree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from bnsharp_cli.measurement.surface.random_numbers import states_kept


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Compute as if nothing around had been set, and leave everything around as it was.

    Inside, inference mode and autocast are off, gradients are on, and convolutions and matrix products use full float32
    instead of TF32 or bfloat16, which ``torch.set_float32_matmul_precision`` allows. Afterwards the modes, these
    switches and the random states of torch, numpy and Python are what they were.

    Args:
        device: where to compute.

    >>> with torch.no_grad(), undisturbed(torch.device("cpu")):
    ...     torch.is_grad_enabled()
    True
    """
    on_cuda = device.type == "cuda"
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.random.fork_rng(devices=[device] if on_cuda else []))
        stack.enter_context(states_kept())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.enter_context(_full_float32(on_cuda))
        yield


@contextmanager
def _full_float32(on_cuda: bool) -> Iterator[None]:
    """Full float32 in convolutions and matrix products.

    These switches are the only ones touched: torch refuses to read its older ``allow_tf32`` once they are set.
    """
    backends: Any = torch.backends  # stubs lag behind
    switches = [backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]
    switches += [backends.cudnn.conv, backends.cuda.matmul] if on_cuda else []
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision
