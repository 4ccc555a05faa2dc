"""Rescalings inside attention: queries against keys, and values against the projection that reads them.

Scores are products of queries and keys, so the rows that make a query may grow if those that make its key shrink by the
same factor; the output is linear in the values, so their rows may grow if the columns that read them shrink. That holds
dimension by dimension, or head by head where several queries share a key or dimensions are rotated together. Nothing is
read off the code: equal Euler products propose, for the finest cut at which they agree, and outputs confirm.

Rows of queries and keys agree with rows; in all other balanced pairs the rows of one agree with columns of the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.blocks.euler import EulerTest
from bnsharp_cli.measurement.invariance.balancing import BalancedSet, Members, Products, parts_of
from bnsharp_cli.measurement.measures.survival import Rescaling

_QUERIES_FOR_A_KEY = (1, 2, 3, 4, 5, 6, 7, 8, 16)
"""How many heads of queries may share one of keys where all three are slices of one tensor."""


def attention_sets(euler: EulerTest, point: Point) -> list[BalancedSet]:
    """The sets of attention that Euler products propose; no two share a slice.

    Args:
        euler: the products of the network.
        point: the parameters, for their shapes.
    """
    return [*_Search(euler, point, tuple(_writers(point))).sets()]


def _writers(point: Point) -> Iterator[Members]:
    """What may make queries, keys or values: the slices of a weight's output, with those of its bias."""
    seen: set[str] = set()
    for part in parts_of(point):
        weights = [slices.name for slices in part if point[slices.name].ndim == 2]
        if len(weights) == 1 and weights[0] not in seen:  # a weight with its bias comes before the weight alone
            seen.add(weights[0])
            yield part


@dataclass(frozen=True)
class _Search:
    """The search in one network.

    Attributes:
        euler: its Euler products.
        point: the parameters, for their shapes.
        writers: what may make queries, keys or values.
        known: products that were asked for.
    """

    euler: EulerTest
    point: Point
    writers: tuple[Members, ...]
    known: dict[tuple[Members, int], Products] = field(default_factory=dict)

    def sets(self) -> Iterator[BalancedSet]:
        """Queries and keys, and beside each pair the values with their projection."""
        taken: set[str] = set()
        for part in self.writers:
            for queries, keys, values in self._cuts(part):
                pair = self._queries_and_keys(queries, keys)
                normed = not (self._acts(queries) or self._acts(keys))  # each is scale-invariant by itself
                beside = self._values([values], taken) if pair or normed else []
                if pair or beside:
                    taken |= _names(part)
                    yield from [*([pair] if pair else []), *beside]
                    break
        yield from self._separate(taken)

    def _separate(self, taken: set[str]) -> Iterator[BalancedSet]:
        """The same where queries have a tensor of their own, and keys have one or share it with the values."""
        for queries in self.writers:
            for keys, values in self._keys_of(queries):
                free = taken.isdisjoint(_names(queries) | _names(keys))
                if free and (pair := self._queries_and_keys(queries, keys)):
                    taken |= _names(queries) | _names(keys)
                    yield from [pair, *self._values(values, taken)]

    def _keys_of(self, queries: Members) -> Iterator[tuple[Members, Sequence[Members]]]:
        """What may be the keys of some queries, each with what may be the values beside them."""
        others = [other for other in self.writers if _place(other) == _place(queries) and other != queries]
        for keys in others:
            yield keys, [other for other in others if other != keys]
            length = self._length(keys)
            if length % 2 == 0:
                yield _cut(keys, 0, length // 2, length), [_cut(keys, length // 2, length, length)]

    def _cuts(self, part: Members) -> Iterator[tuple[Members, Members, Members]]:
        """A tensor as queries, keys and values behind each other: all of them, or those of each head by themselves."""
        length = self._length(part)
        for share in _QUERIES_FOR_A_KEY:
            for own in (own for own in range(length // (share + 2), 0, -1) if length % (own * (share + 2)) == 0):
                ends = (0, share * own, (share + 1) * own, (share + 2) * own)
                queries, keys, values = (_cut(part, start, stop, ends[-1]) for start, stop in pairwise(ends))
                yield queries, keys, values

    def _queries_and_keys(self, queries: Members, keys: Members) -> BalancedSet | None:
        """The two as a set; None if a third weight has their products, too, as a layer around a gate has."""
        if not self._agree(queries, keys):
            return None
        names = _names(queries) | _names(keys)
        weights = [slices for part in self.writers for slices in part if self.point[slices.name].ndim == 2]
        if any(self._agree(queries, (slices,)) for slices in weights if slices.name not in names):
            return None
        count = self._finest(queries, keys)
        turned = ((one, (replace(two[0], axis=1 - two[0].axis),)) for one, two in ((queries, keys), (keys, queries)))
        if any(two[0].whole and self._finest(one, two) > count for one, two in turned):
            return None  # a layer and the next one
        return BalancedSet(Rescaling.ATTENTION, queries, keys, count)

    def _values(self, candidates: Sequence[Members], taken: set[str]) -> list[BalancedSet]:
        """The first of some values for which there is a projection that reads them."""
        for values in candidates:
            if values[0].whole and values[0].name in taken:
                continue
            for weight in (slices for part in self.writers for slices in part if self.point[slices.name].ndim == 2):
                if weight.name not in taken | _names(values) and self._agree(values, (weight,)):
                    readers = [(replace(weight, axis=axis),) for axis in (1, 0)]  # some code has them transposed
                    count, axis = max((self._finest(values, one), one[0].axis) for one in readers)
                    taken |= {weight.name, *(_names(values) if values[0].whole else ())}
                    projection = (replace(weight, axis=axis),)
                    return [BalancedSet(Rescaling.ATTENTION, values, projection, count)]
        return []

    def _agree(self, first: Members, second: Members, count: int = 1) -> bool:
        """Whether the products of ``count`` equal runs of both are the same."""
        return self._products(first, count).matches(self._products(second, count), self.euler.resolution)

    def _acts(self, part: Members) -> bool:
        return self._products(part, 1).acts(self.euler.resolution)

    def _finest(self, first: Members, second: Members) -> int:
        """The largest number of equal runs in which the products of both agree, which they do as a whole; 0 if not."""
        if not self._agree(first, second):
            return 0
        common = math.gcd(self._length(first), self._length(second))
        return next(
            count for count in range(common, 0, -1) if common % count == 0 and self._agree(first, second, count)
        )

    def _products(self, part: Members, count: int) -> Products:
        if (part, count) not in self.known:
            self.known[part, count] = Products.of_members(part, self.euler, self.point, count)
        return self.known[part, count]

    def _length(self, part: Members) -> int:
        return len(part[0].numbers(self.point))


def _cut(part: Members, start: int, stop: int, period: int) -> Members:
    return tuple(replace(slices, start=start, stop=stop, period=period) for slices in part)


def _names(part: Members) -> set[str]:
    return {slices.name for slices in part}


def _place(part: Members) -> str:
    """The module that has the module of a part, or the module itself where that has several weights."""
    return part[0].name.rpartition(".")[0].rpartition(".")[0]
