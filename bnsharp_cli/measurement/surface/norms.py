"""The one interception of every norm, as module, function or operator: statistics, ε, and what each norm saw."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from bnsharp_cli.core.point import numbers
from bnsharp_cli.measurement.surface.code_switches import autocasts, code_switches, table_lookup, without_autocast
from bnsharp_cli.measurement.surface.habits import Habits
from bnsharp_cli.measurement.surface.linear_calls import LinearWatch
from bnsharp_cli.measurement.surface.norm_call import NormCall as NormCall
from bnsharp_cli.measurement.surface.pooling import halving_max_pool
from bnsharp_cli.measurement.surface.promotion import Promotion

_FUNCTIONAL: dict[Any, str] = {
    functional.batch_norm: "batch",
    functional.instance_norm: "instance",
    functional.group_norm: "group",
    functional.layer_norm: "layer",
    functional.rms_norm: "rms",
}
_RUNNING = ("running_mean", "running_var")
_LOW_LEVEL: dict[str, tuple[Any, tuple[str, ...]]] = {
    "batch_norm": (
        functional.batch_norm,
        ("input", "weight", "bias", *_RUNNING, "training", "momentum", "eps", "cudnn_enabled"),
    ),
    "instance_norm": (
        functional.instance_norm,
        ("input", "weight", "bias", *_RUNNING, "use_input_stats", "momentum", "eps", "cudnn_enabled"),
    ),
    "group_norm": (functional.group_norm, ("input", "num_groups", "weight", "bias", "eps", "cudnn_enabled")),
    "layer_norm": (functional.layer_norm, ("input", "normalized_shape", "weight", "bias", "eps", "cudnn_enable")),
    "rms_norm": (functional.rms_norm, ("input", "normalized_shape", "weight", "eps")),
}
NormObserver = Callable[[int, NormCall], None]
"""Told of every norm of a forward pass, and of its number."""

_SIGNATURES = {function: inspect.signature(function) for function in _FUNCTIONAL}


def _operators() -> dict[Any, tuple[Any, tuple[str, ...]]]:
    """``torch.layer_norm``, ``torch.ops.aten.layer_norm`` and the like, each with the functional one's arguments."""
    packets = {name: getattr(torch.ops.aten, name) for name in _LOW_LEVEL}
    return {
        operator: _LOW_LEVEL[name]
        for name, packet in packets.items()
        for operator in (getattr(torch, name), packet, packet.default)
    }


_OPERATORS = _operators()


@dataclass(frozen=True)
class NormTreatment:
    """How norms are computed.

    Attributes:
        batch_statistics: batch norm and instance norm use the batch's statistics and leave the running ones alone;
            otherwise they use the running ones.
        epsilon: replaces every ε, and inputs are cleaned of what would drown beside so small a one, see
            ``NormCall.cleaned``; None keeps them.
        input_scales: a tensor s per norm call, in order of the calls, that can be broadcast over the norm's slots: the
            norm acts as if its ε were s² ε. Empty: all one.
        last_bits: the seed by which the last bits of inputs that hardly vary beside their mean are moved, to see what
            rounding does there; None leaves them.
        apart: batch norm without running statistics takes mean 0 and variance 1, so that no example sees another.
    """

    batch_statistics: bool = True
    epsilon: float | None = None
    input_scales: tuple[Tensor, ...] = ()
    last_bits: int | None = None
    apart: bool = False

    @cached_property
    def divisors(self) -> tuple[Tensor | None, ...]:
        """The input scales, and None for those that are all one; asked once, since each question waits for a device."""
        ones = numbers((scale == 1).all() for scale in self.input_scales)
        return tuple(None if one else scale for one, scale in zip(ones, self.input_scales, strict=True))


class NormInterception(TorchFunctionMode):
    """While it is active, every norm follows ``treatment``, and ``observer`` is told of each call and its number.

    ``names`` maps the ``id`` of parameters and buffers to their names, so that a call knows its module. ``watch`` is
    told of every function that is called.
    ``fast_pooling`` takes max pooling over too, where it can: the same bits, sooner, differentiable only once.
    With ε_c = s_c² ε, (x − μ)/√(σ² + s²ε) = (x/s − μ/s)/√(σ²/s² + ε): dividing the input by s gives the exact ε per
    slot with the native kernels. Everything is computed in ``dtype``, whatever the code casts or autocasts to (see
    :mod:`promotion`); None leaves that to the first tensor. ``habits`` is told of what the code was seen to do.
    """

    def __init__(
        self,
        treatment: NormTreatment,
        observer: NormObserver | None = None,
        names: Mapping[int, str] | None = None,
        watch: LinearWatch | None = None,
        *,
        fast_pooling: bool = False,
        dtype: torch.dtype | None = None,
        habits: Habits | None = None,
    ) -> None:
        super().__init__()
        self._fast_pooling = fast_pooling
        self._names = names or {}
        self._treatment = treatment
        self._observer, self._watch = observer, watch
        self._habits = habits or Habits()
        self._promotion = Promotion(dtype, self._habits)
        self._calls = 0

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Compute norms by our own code, derivatives with a graph, and every other function in the run's precision."""
        del types
        with without_autocast(self._habits) if autocasts() else nullcontext():
            answer = self._called(func, args, kwargs or {})
        if self._watch is not None:
            self._watch.see(func, args, kwargs or {}, answer)
        return answer

    def _called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        func, args, kwargs = self._promotion.adapted(func, args, kwargs)
        kwargs = code_switches(func, kwargs, self._habits)
        if func in _REPLACED:
            return _REPLACED[func](*args, **kwargs)
        if func in _OPERATORS:
            func, names = _OPERATORS[func]
            kwargs = {**dict(zip(names, args, strict=False)), **kwargs}
            kwargs = {key: value for key, value in kwargs.items() if key in _SIGNATURES[func].parameters}
            args = ()
        if func in _FUNCTIONAL:
            return self._norm(func, args, kwargs)
        pooled = halving_max_pool(func, args, kwargs) if self._fast_pooling else None
        return self._promotion.result(func, kwargs, func(*args, **kwargs)) if pooled is None else pooled

    def _norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        bound = _SIGNATURES[func].bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        mean, variance, weight = (
            self._names.get(id(arguments.get(key)), "") for key in ("running_mean", "running_var", "weight")
        )
        call = NormCall(_FUNCTIONAL[func], arguments, mean, variance, (mean or weight).rpartition(".")[0])
        number = self._calls
        self._calls += 1
        if self._observer is not None:
            self._observer(number, call)
        return func(**self._treated(number, call))

    def _treated(self, number: int, call: NormCall) -> dict[str, Any]:
        arguments = {**call.arguments, "eps": call.epsilon}
        if self._treatment.epsilon is not None:
            arguments |= {"eps": self._treatment.epsilon, "input": call.cleaned()}
        if self._treatment.last_bits is not None:
            arguments["input"] = call.with_last_bits(self._treatment.last_bits + number)
        has_running = arguments.get("running_mean") is not None
        if call.kind in {"batch", "instance"}:
            if self._treatment.apart and call.kind == "batch" and not has_running:
                arguments |= call.neutral_statistics()
                has_running = True
            own = self._treatment.batch_statistics or not has_running
            arguments["training" if call.kind == "batch" else "use_input_stats"] = own
            if own:
                arguments["running_mean"] = arguments["running_var"] = None
        divisors = self._treatment.divisors
        divisor = divisors[number] if number < len(divisors) else None  # a loss that runs the network again has more
        if divisor is not None:
            _divide(call, arguments, divisor)
        return arguments


def _divide(call: NormCall, arguments: dict[str, Any], scale: Tensor) -> None:
    """Divide input and running mean by s, and the running variance by s²."""
    local = scale.to(arguments["input"])
    arguments["input"] = arguments["input"] / call.over_input(local)
    if arguments.get("running_mean") is not None:
        arguments["running_mean"] = arguments["running_mean"] / local.flatten()
        arguments["running_var"] = arguments["running_var"] / local.flatten().square()


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """The weight g v/‖v‖; norms are taken over all dimensions but ``dim``, or over all for −1.

    torch's own kernel has no rule for several points at once.
    """
    others = [axis for axis in range(v.ndim) if axis != dim]
    norms: Tensor = torch.linalg.vector_norm(v, dim=others, keepdim=dim >= 0)
    return v * (g / norms)


_REPLACED: dict[Any, Callable[..., Tensor]] = {torch._weight_norm: weight_norm, torch.embedding: table_lookup}
