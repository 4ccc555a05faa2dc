"""What a search for blocks finds at its generic location, kept for the next checkpoint of the same architecture.

The generic location has random weights and mostly random inputs, and nothing of the checkpoint. What the network
computes there is therefore the same for every checkpoint of one architecture, and so is what follows from it. Only what
depends on the weights is computed again: the outputs, the Euler products and the scaling by ½ and 2 at the user's
point. The blocks are those that a search of its own would find, whatever was searched before.

A network is taken to be the same if its modules, their settings, the code of their ``forward`` and everything that it
holds beside the weights are the same, and if it gives the same outputs at the generic location, bit for bit. Running
statistics of norms may differ, since a probe takes those of the batch. Where anything else differs, the search is a
full one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

# The base class of all norms with running statistics has no public name.
from torch.nn.modules.batchnorm import _NormBase

from bnsharp_cli.measurement.surface.tensor_trees import TensorTree, tensors_in

if TYPE_CHECKING:
    from bnsharp_cli.core.point import Point
    from bnsharp_cli.measurement.surface.loss_surface import LossSurface

Answered = TypeVar("Answered")

_MOST = 8
"""Architectures that are remembered at once; a command rarely has more than one."""

_SETTINGS = (bool, int, float, complex, str, bytes, type(None))


@dataclass
class Findings:
    """What was found out at one location.

    Attributes:
        outputs: of the network; empty until they are asked for.
        answers: to further questions, each with all that the answer depends on, tensors by their :func:`digest`.
    """

    outputs: list[Tensor] = field(default_factory=list)
    answers: dict[Hashable, Any] = field(default_factory=dict)

    def answered(self, question: Hashable, compute: Callable[[], Answered]) -> Answered:
        """The answer to a question, computed once."""
        if question not in self.answers:
            self.answers[question] = compute()
        answer: Answered = self.answers[question]
        return answer


@dataclass
class SearchMemory:
    """The findings at the generic locations of the architectures that were searched last, for one command.

    Attributes:
        found: by what identifies network and location.
    """

    found: dict[str, Findings] = field(default_factory=dict)

    def findings(self, surface: LossSurface, point: Point, inputs: Any, own: Findings) -> Findings:
        """What is known of a generic location, or its ``own`` findings, which are then kept.

        Args:
            surface: the network, as it is probed.
            point: the weights there, which names, shapes and the outputs identify.
            inputs: the inputs and targets there.
            own: its findings, which have the outputs.
        """
        shapes = [(name, tuple(tensor.shape)) for name, tensor in point.items()]
        held = [*_held(surface), *_tensors(inputs), *own.outputs]
        identity = digest(str(surface.device), shapes, _described(surface.module), *held)
        known = self.found.pop(identity, own)
        self.found[identity] = known
        while len(self.found) > _MOST:
            del self.found[next(iter(self.found))]
        return known


def digest(*parts: Any) -> str:
    """A digest of texts, numbers, containers of them, and tensors, which count with every bit."""
    running = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            running.update(f"{part.dtype} {tuple(part.shape)}".encode())
            for stored in _stored(part):
                running.update(_bytes_of(stored))
        else:
            running.update(repr(part).encode("utf-8", "surrogatepass"))
        running.update(b"\0")
    return running.hexdigest()


def _stored(tensor: Tensor) -> tuple[Tensor, ...]:
    """The tensors with strides that hold a sparse one; of any other the tensor itself, dense."""
    if tensor.layout is torch.sparse_coo:
        whole = tensor.detach().coalesce()
        return whole.indices(), whole.values()
    if tensor.layout in {torch.sparse_csr, torch.sparse_bsr}:
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in {torch.sparse_csc, torch.sparse_bsc}:
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    return (tensor if tensor.layout is torch.strided else tensor.to_dense(),)


def _bytes_of(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    real = torch.view_as_real(flat.resolve_conj()).reshape(-1) if flat.is_complex() else flat
    return bytes(real.view(torch.uint8).numpy().tobytes())


def _tensors(inputs: Any) -> Iterator[Tensor]:
    for part in inputs:
        yield from tensors_in(part.value if isinstance(part, TensorTree) else part)


def _held(surface: LossSurface) -> Iterator[Tensor]:
    """What the network holds beside the weights that are varied, without running statistics of norms."""
    norms = {name for name, module in surface.module.named_modules() if isinstance(module, _NormBase)}
    yield from surface.constants().values()
    for name, buffer in surface.buffers.items():
        if name.rpartition(".")[0] not in norms:
            yield buffer


def _described(module: nn.Module) -> list[Hashable]:
    """The modules of a network with their settings and their code; what tensors they hold only by shape."""
    described: list[Hashable] = []
    for name, one in module.named_modules():
        settings = sorted((key, repr(value)) for key, value in vars(one).items() if _is_setting(value))
        tensors = [*one.named_parameters(recurse=False), *one.named_buffers(recurse=False)]
        held = [(key, tuple(tensor.shape), str(tensor.dtype)) for key, tensor in tensors]
        described.append((name, type(one).__module__, type(one).__qualname__, *settings, *held, *_code_of(one)))
    return described


def _is_setting(value: Any, depth: int = 3) -> bool:
    if isinstance(value, list | tuple):
        return depth > 0 and all(_is_setting(entry, depth - 1) for entry in value)
    return isinstance(value, _SETTINGS)


def _code_of(module: nn.Module) -> tuple[Hashable, ...]:
    """The place and the content of the code of ``forward``; nothing for code that is not Python's."""
    code = getattr(getattr(type(module), "forward", None), "__code__", None)
    return () if code is None else (code.co_filename, code.co_firstlineno, code.co_code.hex(), code.co_names)
