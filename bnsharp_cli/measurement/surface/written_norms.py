"""Layer and root-mean-square norms that a network's own Python code computes, as transformers' do: run as torch's.

Such code is a chain of products like any other, so the ε in it could not be taken away where rows are looked for that
are scale-invariant but for ε, nor scaled where a copy has to compute the same. A module is such a norm if it answers as
torch's norm does to inputs both far larger and no larger than its ε.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from bnsharp_cli.measurement.surface.norms import NormInterception, NormTreatment
from bnsharp_cli.measurement.surface.random_numbers import random_states

_LARGEST_EPSILON = 1e-2
_SAMPLES, _SAME = 5, 1e-9
_NO_NETWORK = ("torch.", "bnsharp_cli.")

Norm = Callable[[Tensor, Sequence[Tensor], float], Tensor]
"""From input, the module's parameters and ε to what a norm answers."""


def _rms(x: Tensor, parameters: Sequence[Tensor], epsilon: float) -> Tensor:
    (gain,) = parameters
    return functional.rms_norm(x, list(gain.shape), gain, epsilon)


def _rms_from_one(x: Tensor, parameters: Sequence[Tensor], epsilon: float) -> Tensor:
    """Gemma's: the weight is what the gain has beyond one."""
    (gain,) = parameters
    return functional.rms_norm(x, list(gain.shape), 1 + gain, epsilon)


def _layer(x: Tensor, parameters: Sequence[Tensor], epsilon: float) -> Tensor:
    gain, bias = (*parameters, None)[:2]
    return functional.layer_norm(x, list(parameters[0].shape), gain, bias, epsilon)


_NORMS: Mapping[int, tuple[Norm, ...]] = {1: (_rms, _rms_from_one, _layer), 2: (_layer,)}
"""By the number of the module's parameters, in their order."""


class _WrittenNorm(nn.Module):
    """What a module becomes that is a norm: the same module, computed by torch."""

    _bnsharp_norm: tuple[Norm, float]

    def forward(self, *args: Any, **keywords: Any) -> Any:
        """The norm of the only argument; whatever else is asked for, the module's own code answers."""
        given = (*args, *keywords.values())
        if len(given) != 1 or not isinstance(given[0], Tensor):
            return super().forward(*args, **keywords)
        norm, epsilon = self._bnsharp_norm
        return norm(given[0], tuple(self.parameters()), epsilon)


def follow_written_norms(module: nn.Module) -> None:
    """Let every norm that the code of ``module`` computes by itself be computed by torch, to rounding the same.

    Args:
        module: a private copy; its classes, not its tensors, are changed.
    """
    for part in module.modules():
        epsilon = _epsilon(part)
        if epsilon is None:
            continue
        known = (norm for norm in _NORMS.get(len(part._parameters), ()) if _answers_as(part, norm, epsilon))
        norm = next(known, None)
        if norm is not None:
            part.__class__ = _computed_by_torch(type(part))
            part.__dict__["_bnsharp_norm"] = norm, epsilon


def _computed_by_torch(own: type[nn.Module]) -> type[nn.Module]:
    return type(own.__name__, (_WrittenNorm, own), {"__module__": own.__module__})


def _epsilon(part: nn.Module) -> float | None:
    """The only small number that a module keeps, if it has nothing else than a gain and perhaps a bias."""
    if type(part).__module__.startswith(_NO_NETWORK) or isinstance(part, torch.jit.ScriptModule | _WrittenNorm):
        return None
    parameters = [*part._parameters.values()]
    others = (*part._modules.values(), *part._buffers.values())
    plain = all(one is not None and one.ndim == 1 and len(one) > 1 and one.is_floating_point() for one in parameters)
    if others or not parameters or not plain or any(isinstance(value, Tensor) for value in vars(part).values()):
        return None
    small = {value for value in vars(part).values() if isinstance(value, float) and 0 < value <= _LARGEST_EPSILON}
    return small.pop() if len(small) == 1 else None


def _answers_as(part: nn.Module, norm: Norm, epsilon: float) -> bool:
    """Whether a module answers as a norm does, for one gain and for inputs of two sizes, in float64."""
    generator = torch.Generator().manual_seed(0)
    shapes = {name: one.shape for name, one in part.named_parameters()}
    drawn = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    (length, *_) = shapes.values()
    x = torch.randn(_SAMPLES, *length, generator=generator, dtype=torch.float64) + 0.5
    before = random_states(torch.device("cpu"))
    try:
        for inputs in (x, x * epsilon**0.5):
            with torch.no_grad(), NormInterception(NormTreatment(), dtype=torch.float64):
                found = functional_call(part, drawn, (inputs,))
            expected = norm(inputs, tuple(drawn.values()), epsilon)
            if not isinstance(found, Tensor) or found.shape != expected.shape:
                return False
            if not torch.allclose(found, expected, rtol=_SAME, atol=_SAME):
                return False
    except Exception:  # a module of the user's raises whatever it likes
        return False
    return random_states(torch.device("cpu")) == before
