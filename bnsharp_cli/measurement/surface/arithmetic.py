"""The arithmetic that surroundings cannot change: whatever modes and switches a program has set, the numbers agree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.autograd.graph import disable_saved_tensors_hooks

from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.surface.random_numbers import states_kept


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Compute as if nothing around had been set, and leave everything around as it was.

    Inside, inference mode and autocast are off, gradients are on, and convolutions and matrix products use full float32
    instead of TF32 or bfloat16, which ``torch.set_float32_matmul_precision`` allows. Afterwards the modes, these
    switches and the random states of torch, numpy and Python are what they were.

    Args:
        device: where to compute.

    Raises:
        UsageError: hooks for saved tensors are set around, which autograd would run in every pass, or a default device.

    >>> with torch.no_grad(), undisturbed(torch.device("cpu")):
    ...     torch.is_grad_enabled()
    True
    """
    on_cuda = device.type == "cuda"
    _require_no_hooks()
    _require_usual_place()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.random.fork_rng(devices=[device] if on_cuda else []))
        stack.enter_context(states_kept())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.enter_context(_full_float32(on_cuda))
        yield


def _require_no_hooks() -> None:
    """Refuse ``torch.autograd.graph.saved_tensors_hooks`` and the like around a measurement: nothing takes them off."""
    try:
        with disable_saved_tensors_hooks("a measurement"):
            pass
    except RuntimeError as error:
        raise UsageError(
            "The measurement is called inside a context that changes what autograd saves, such as save_on_cpu.",
            "Call it outside of torch.autograd.graph.save_on_cpu() or saved_tensors_hooks().",
            argument="model",
            expected="a call outside of such a context",
            found="hooks for saved tensors",
        ) from error


def _require_usual_place() -> None:
    """Refuse another default device than the CPU, on which numbers of ours and of the network's would come to lie."""
    found = torch.get_default_device()
    if found.type != "cpu":
        raise UsageError(
            f"torch's default device is {found}, so that tensors come to lie there wherever nothing else is said.",
            "Call it inside \"with torch.device('cpu'):\"; the network is measured on its own device all the same.",
            argument="device",
            expected="the CPU as the default device",
            found=str(found),
        )


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
