"""The linear layers of a forward pass, as they were called: which of them made the network's prediction.

Nothing is read from the structure of a module. What counts is that a function of torch multiplied a parameter with some
features, and that the product is the prediction, number for number.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_CONVOLUTIONS = {functional.conv1d, functional.conv2d, functional.conv3d}
_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_KEPT = 4
"""How many of the last linear layers are kept: heads that a network has beside the one that predicts come late too."""


@dataclass(frozen=True)
class LinearCall:
    """One call of a linear layer, or of a convolution whose kernel is a single point.

    Attributes:
        features: φ, what it multiplied, (rows, features).
        weight: W, (outputs, features).
        product: what it answered, (rows, outputs).
        name: of the parameter that W is; empty where W is no parameter.
        uses: in how many calls of the pass W took part.
        kept: whether nothing has been written into its product since.
    """

    features: Tensor
    weight: Tensor
    product: Tensor
    name: str
    uses: int
    kept: bool

    def answers(self, rows: Tensor) -> bool:
        """Whether it answered these very numbers, (rows, outputs)."""
        return self.kept and self.product.shape == rows.shape and torch.equal(self.product.to(rows), rows)


@dataclass(frozen=True)
class _Seen:
    """A call as it was made, with the version of its product, which counts what is written into it."""

    convolution: bool
    features: Tensor
    weight: Tensor
    product: Tensor
    version: int


class LinearWatch:
    """Told of every function that a forward pass calls; keeps its last linear layers."""

    def __init__(self) -> None:
        self._names: Mapping[int, str] = {}
        self._uses: Counter[int] = Counter()
        self._last: deque[_Seen] = deque(maxlen=_KEPT)

    def begin(self, parameters: Mapping[str, Tensor]) -> None:
        """Know the tensors of a pass by their names."""
        self._names = {id(tensor): name for name, tensor in parameters.items()}

    def see(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], answer: Any) -> None:
        """Note a call that computed something."""
        if not isinstance(answer, Tensor):
            return
        given = [*args, *kwargs.values()]
        flat = [each for one in given for each in (one if isinstance(one, list | tuple) else (one,))]
        self._uses.update({id(each) for each in flat if id(each) in self._names})
        convolution = function in _CONVOLUTIONS
        if convolution or function is functional.linear:
            call = {**dict(zip(_ARGUMENTS, args, strict=False)), **kwargs}
            if not convolution or _pointwise(call):
                self._last.append(_Seen(convolution, call["input"], call["weight"], answer, answer._version))

    def calls(self) -> list[LinearCall]:
        """The last linear layers, the last one first."""
        return [self._call(one) for one in reversed(self._last)]

    def _call(self, seen: _Seen) -> LinearCall:
        features, product = seen.features, seen.product
        weight = seen.weight.detach().flatten(1)
        kept = seen.version == product._version
        if seen.convolution:  # (examples, channels, …), or one example without the first dimension
            channels = features.ndim - (seen.weight.ndim - 1)
            features, product = features.movedim(channels, -1), product.movedim(channels, -1)
        rows = (one.detach().reshape(-1, one.shape[-1]) for one in (features, product))
        return LinearCall(
            *(next(rows), weight, next(rows)),
            name=self._names.get(id(seen.weight), ""),
            uses=self._uses[id(seen.weight)],
            kept=kept,
        )


def _pointwise(call: Mapping[str, Any]) -> bool:
    """Whether a convolution is a linear layer at every point: its kernel is one, and nothing is skipped or added."""
    weight = call["weight"]
    single = all(size == 1 for size in weight.shape[2:])
    return single and _all(call.get("stride", 1), 1) and _all(call.get("padding", 0), 0) and call.get("groups", 1) == 1


def _all(setting: Any, number: int) -> bool:
    if isinstance(setting, str):  # "same" and "valid" add nothing around a kernel of one point
        return True
    return all(one == number for one in (setting if isinstance(setting, list | tuple) else (setting,)))
