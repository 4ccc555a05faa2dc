"""Points that are never held whole: any rows of a tensor can be computed by themselves, each time anew.

A network of some gigabytes leaves no room for a point in float64 beside it, nor for a direction. So what is added to
its weights is computed for some rows at a time, where they are used, and random numbers are drawn anew from their seed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from bnsharp_cli.core.point import LazyPoint, Point, inner, numbers, on_segment

PIECE = 2**16
"""Numbers that are computed at a time, unless a single row has more: they stay in a core's cache meanwhile."""

_SEED_BYTES = 7

_Draw = Callable[[torch.Size, torch.Generator], Tensor]
"""Random numbers of a shape."""


def row_slices(shape: torch.Size) -> list[slice]:
    """The rows of a tensor, in consecutive parts of at most ``PIECE`` numbers; a number by itself is one row.

    >>> row_slices(torch.Size([3, 40_000]))
    [slice(0, 1, None), slice(1, 2, None), slice(2, 3, None)]
    >>> row_slices(torch.Size([]))
    [slice(0, 1, None)]
    """
    rows = shape[0] if shape else 1
    step = max(1, PIECE // max(1, shape[1:].numel()))
    return [slice(first, min(first + step, rows)) for first in range(0, rows, step)]


def rows_of(tensor: Tensor, rows: slice) -> Tensor:
    """Some rows of a tensor; a number by itself is its only row."""
    return tensor[rows] if tensor.ndim else tensor


class RowPoint(LazyPoint):
    """A point whose rows are computed when they are asked for, in float64: it takes no memory of its own.

    >>> point = RowPoint.of({"w": torch.tensor([[1.0, 2.0], [3.0, 4.0]])})
    >>> [piece.tolist() for _, piece in point.pieces("w")]
    [[[1.0, 2.0], [3.0, 4.0]]]

    Args:
        shapes: of every tensor, by name.
        device: where they are.
        piece: from a name and one of the tensor's :func:`row_slices` to these rows.
    """

    def __init__(
        self, shapes: Mapping[str, torch.Size], device: torch.device, piece: Callable[[str, slice], Tensor]
    ) -> None:
        self.shapes, self.device, self.piece = shapes, device, piece

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> RowPoint:
        """The point with the values of ``tensors``, which must not change."""
        device = next((tensor.device for tensor in tensors.values()), torch.device("cpu"))
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        return cls(shapes, device, lambda name, rows: rows_of(tensors[name], rows).double())

    def pieces(self, name: str) -> Iterator[tuple[slice, Tensor]]:
        """The rows of one tensor, some at a time."""
        return ((rows, self.piece(name, rows)) for rows in row_slices(self.shapes[name]))

    def whole(self, name: str, dtype: torch.dtype) -> Tensor:
        """One tensor in the precision ``dtype``."""
        found = torch.empty(self.shapes[name], dtype=dtype, device=self.device)
        for rows, piece in self.pieces(name):
            rows_of(found, rows).copy_(piece)
        return found

    def completed(self, tensors: Mapping[str, Tensor]) -> RowPoint:
        """The point with the values of those of ``tensors`` that it lacks, in the order of ``tensors``."""
        others = RowPoint.of(tensors)
        own = self.shapes
        return RowPoint(
            others.shapes,
            others.device,
            lambda name, rows: self.piece(name, rows) if name in own else others.piece(name, rows),
        )

    def each(self, change: Callable[[str, slice, Tensor], Tensor]) -> RowPoint:
        """The point of which every piece is ``change`` of the name, the rows and the piece here."""
        return RowPoint(self.shapes, self.device, lambda name, rows: change(name, rows, self.piece(name, rows)))

    def plus(self, direction: RowPoint, step: float) -> RowPoint:
        """``self + step · direction``."""
        return self.each(lambda name, rows, piece: piece.add(direction.piece(name, rows), alpha=step))

    def drawn(self, seed: int, draw: _Draw) -> RowPoint:
        """Random numbers of the same shapes: each piece from a generator of its own, the same whenever it is drawn.

        They are drawn on the CPU, so that every device sees the same ones.
        """

        def piece(name: str, rows: slice) -> Tensor:
            shape = self.shapes[name]
            own = torch.Size((rows.stop - rows.start, *shape[1:])) if shape else shape
            return draw(own, _generator(seed, name, rows.start)).to(self.device, torch.float64)

        return RowPoint(self.shapes, self.device, piece)

    def normal(self, seed: int) -> RowPoint:
        """Independent standard normal numbers, with the digits of float32.

        >>> point = RowPoint.of({"w": torch.zeros(2, 3)})
        >>> bool((point.normal(0)["w"] == point.normal(0)["w"]).all())
        True
        """
        return self.drawn(seed, lambda shape, generator: torch.randn(shape, generator=generator))

    def last_bits(self, epsilon: float, seed: int) -> RowPoint:
        """The point with every number times 1 ± ε, at random."""
        signs = self.drawn(seed, lambda shape, generator: torch.randint(2, shape, generator=generator) * 2 - 1)
        return self.each(lambda name, rows, piece: piece * (1 + epsilon * signs.piece(name, rows)))

    def __getitem__(self, name: str) -> Tensor:
        """The tensor of one parameter, in float64."""
        return self.whole(name, torch.float64)

    def __iter__(self) -> Iterator[str]:
        """The names of all parameters, in their order."""
        return iter(self.shapes)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.shapes)


def displaced(point: Point, direction: Point, step: float) -> LazyPoint:
    """``point + step · direction``, of the same kind as ``point``, without holding it.

    >>> import torch
    >>> point, direction = {"w": torch.ones(2)}, {"w": torch.tensor([1.0, 2.0])}
    >>> displaced(point, direction, 0.5)["w"]
    tensor([1.5000, 2.0000])
    """
    if isinstance(point, RowPoint) and isinstance(direction, RowPoint):
        return point.plus(direction, step)
    return on_segment(point, direction, step)


def inner_product(first: Point, second: Point) -> float:
    """⟨first, second⟩ in float64, of points of either kind."""
    if not (isinstance(first, RowPoint) and isinstance(second, RowPoint)):
        return inner(first, second)
    parts = [(piece * second.piece(name, rows)).sum() for name in first for rows, piece in first.pieces(name)]
    return math.fsum(numbers(parts))


def outline(point: Point) -> Point:
    """Tensors of the shapes of a point's: those of a :class:`RowPoint` without values, since they take memory."""
    if not isinstance(point, RowPoint):
        return point
    return {name: torch.empty(shape, device="meta") for name, shape in point.shapes.items()}


def _generator(seed: int, name: str, first: int) -> torch.Generator:
    """The generator of one piece; a digest keeps those of neighbouring seeds apart."""
    digest = hashlib.sha256(f"{seed} {first} {name}".encode(errors="surrogatepass")).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:_SEED_BYTES]))
