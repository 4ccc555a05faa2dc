"""One interception of every norm, module or functional: statistics, ε, and what the norms saw."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from bnsharp_cli.measurement.pooling import halving_max_pool

_FUNCTIONAL: dict[Any, str] = {
    functional.batch_norm: "batch",
    functional.instance_norm: "instance",
    functional.group_norm: "group",
    functional.layer_norm: "layer",
    functional.rms_norm: "rms",
}
_LOW_LEVEL: dict[Any, tuple[Any, tuple[str, ...]]] = {
    torch.batch_norm: (
        functional.batch_norm,
        ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps", "_"),
    ),
    torch.instance_norm: (
        functional.instance_norm,
        ("input", "weight", "bias", "running_mean", "running_var", "use_input_stats", "momentum", "eps", "_"),
    ),
    torch.group_norm: (functional.group_norm, ("input", "num_groups", "weight", "bias", "eps", "_")),
    torch.layer_norm: (functional.layer_norm, ("input", "normalized_shape", "weight", "bias", "eps", "_")),
}
_SIGNATURES = {function: inspect.signature(function) for function in _FUNCTIONAL}


@dataclass(frozen=True)
class NormCall:
    """One call of a norm during one forward.

    Attributes:
        kind: batch, instance, group, layer or rms.
        arguments: by the names of ``torch.nn.functional``.
        running_mean: the name of the buffer, or an empty string.
        running_var: likewise.
        owner: the module whose parameters or buffers the norm uses, or an empty string.
    """

    kind: str
    arguments: dict[str, Any]
    running_mean: str = ""
    running_var: str = ""
    owner: str = ""


@dataclass(frozen=True)
class NormTreatment:
    """How norms are computed.

    Attributes:
        batch_statistics: batch norm and instance norm use the batch's statistics and leave the running ones alone;
            otherwise they use the running ones.
        epsilon: replaces every ε; None keeps them.
        input_scales: one (channels,) or () tensor s per norm call, in order of the calls: the norm acts as if its ε
            were s² ε. Empty: all one.
    """

    batch_statistics: bool = True
    epsilon: float | None = None
    input_scales: tuple[Tensor, ...] = ()


class NormInterception(TorchFunctionMode):
    """While active, every norm follows ``treatment``, and ``observer`` is told of each call and its number.

    ``names`` maps the identity of parameters and buffers to their names, so that a call knows whose it is.
    ``fast_pooling`` takes max pooling over too, where it can: the same bits, sooner, differentiable only once.
    With ε_c = s_c² ε, (x − μ)/√(σ² + s²ε) = (x/s − μ/s)/√(σ²/s² + ε): dividing the input by s gives the exact ε per
    channel with the native kernels.
    """

    def __init__(
        self,
        treatment: NormTreatment,
        observer: Callable[[int, NormCall], None] | None = None,
        names: Mapping[int, str] | None = None,
        *,
        fast_pooling: bool = False,
    ) -> None:
        super().__init__()
        self._fast_pooling = fast_pooling
        self._names = names or {}
        self._treatment = treatment
        self._observer = observer
        self._calls = 0

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Divert the norms, pass everything else on."""
        kwargs = kwargs or {}
        if func is torch._weight_norm:
            return weight_norm(*args, **kwargs)
        if func in _LOW_LEVEL:
            func, names = _LOW_LEVEL[func]
            kwargs = {**dict(zip(names, args, strict=False)), **kwargs}
            kwargs = {key: value for key, value in kwargs.items() if key in _SIGNATURES[func].parameters}
            args = ()
        if func not in _FUNCTIONAL:
            pooled = halving_max_pool(func, args, kwargs) if self._fast_pooling else None
            return func(*args, **kwargs) if pooled is None else pooled
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
        arguments = dict(call.arguments)
        if self._treatment.epsilon is not None:
            arguments["eps"] = self._treatment.epsilon
        has_running = arguments.get("running_mean") is not None
        if call.kind in {"batch", "instance"}:
            own = self._treatment.batch_statistics or not has_running
            arguments["training" if call.kind == "batch" else "use_input_stats"] = own
            if own:
                arguments["running_mean"] = arguments["running_var"] = None
        if self._treatment.input_scales:
            self._divide(arguments, self._treatment.input_scales[number])
        return arguments

    @staticmethod
    def _divide(arguments: dict[str, Any], scale: Tensor) -> None:
        if bool((scale == 1).all()):
            return
        x: Tensor = arguments["input"]
        local = scale.to(x)
        arguments["input"] = x / (local.reshape(1, -1, *[1] * (x.ndim - 2)) if local.ndim else local)
        if arguments.get("running_mean") is not None:
            arguments["running_mean"] = arguments["running_mean"] / local
            arguments["running_var"] = arguments["running_var"] / local.square()


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """The weight g v/‖v‖, norms taken over all dimensions but ``dim``, or over all for −1.

    torch's own kernel has no rule for several points at once.
    """
    others = [axis for axis in range(v.ndim) if axis != dim]
    norms: Tensor = torch.linalg.vector_norm(v, dim=others, keepdim=dim >= 0)
    return v * (g / norms)


def input_moments(call: NormCall) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a norm's input: per channel, or over all of it for layer and rms norm.

    Per channel means over samples and positions, as batch norm does; a group's channels share their scale.
    """
    x: Tensor = call.arguments["input"]
    if call.kind in {"layer", "rms"}:
        return x.mean(), x.std(correction=0)
    channels = x.movedim(1, 0).flatten(1)
    return channels.mean(dim=1), channels.std(dim=1, correction=0)
