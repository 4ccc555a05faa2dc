"""Trees of tensors: every container keeps its class, its order and whatever else it carries."""

from __future__ import annotations

import collections
import dataclasses
import types
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree

from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.surface.tensor_trees import (
    TensorTree,
    as_float64,
    floating_tensors,
    map_tensors,
    tensors_in,
)


class Pair(NamedTuple):
    scores: Tensor
    name: str


class OwnList(list[Any]):
    """A list that is none of Python's."""


@dataclasses.dataclass(frozen=True)
class Answer:
    scores: Tensor
    hidden: tuple[Tensor, ...]
    name: str


@dataclasses.dataclass
class Registered:
    """A record that torch's pytree would make anew, without what was added to it."""

    scores: Tensor


_pytree.register_dataclass(Registered)


def number(value: float) -> Tensor:
    return torch.tensor(value)


def registered() -> Registered:
    record = Registered(number(1.0))
    record.note = "added later"
    return record


TREES: dict[str, Any] = {
    "tensor": number(1.0),
    "list": [number(1.0), 2, None],
    "named tuple": Pair(number(1.0), "pair"),
    "dict out of order": {"b": number(1.0), "a": number(2.0)},
    "ordered dict": collections.OrderedDict(b=number(1.0), a=number(2.0)),
    "default dict": collections.defaultdict(list, b=number(1.0)),
    "user dict": collections.UserDict(b=number(1.0), a=[number(2.0)]),
    "own list": OwnList([number(1.0)]),
    "frozen record": Answer(number(1.0), (number(2.0), number(3.0)), "answer"),
    "registered record": registered(),
    "torch's own": torch.max(torch.ones(2, 3), dim=1),
    "nested": [{"x": (number(1.0), [number(2.0)])}, "text"],
}


@pytest.mark.parametrize("name", TREES)
def test_a_container_keeps_its_class_and_everything_but_its_tensors(name: str) -> None:
    tree = TREES[name]
    before = [tensor.clone() for tensor in tensors_in(tree)]
    changed = map_tensors(lambda tensor: tensor + 1, tree)
    assert type(changed) is type(tree)
    assert before
    assert [float(t.sum()) for t in tensors_in(changed)] == [float((t + 1).sum()) for t in before]
    assert all(torch.equal(*pair) for pair in zip(tensors_in(tree), before, strict=True)), "the user's own is untouched"
    if isinstance(tree, collections.abc.Mapping):
        assert [*changed] == [*tree]
    if isinstance(tree, collections.defaultdict):
        assert changed.default_factory is list
    if hasattr(tree, "name"):
        assert changed.name == tree.name
    if hasattr(tree, "note"):
        assert changed.note == tree.note


def test_a_mapping_that_cannot_be_changed_becomes_a_dictionary() -> None:
    changed = map_tensors(torch.neg, types.MappingProxyType({"b": number(1.0), "a": number(2.0)}))
    assert type(changed) is dict
    assert {name: float(tensor) for name, tensor in changed.items()} == {"b": -1.0, "a": -2.0}
    assert [*changed] == ["b", "a"]


def test_tensors_come_in_the_order_of_their_keys_and_fields() -> None:
    tree = {"z": number(0.0), "a": [number(1.0), {"y": number(2.0), "b": Pair(number(3.0), "")}], "c": number(4.0)}
    assert [float(tensor) for tensor in tensors_in(tree)] == [0, 1, 2, 3, 4]
    assert [*tensors_in("text")] == [*tensors_in(None)] == []


def test_model_outputs_of_transformers_keep_their_class_order_and_attributes() -> None:
    outputs = pytest.importorskip("transformers.modeling_outputs")
    answer = outputs.ImageClassifierOutput(logits=number(1.0), hidden_states=(number(2.0), number(3.0)))
    changed = map_tensors(lambda tensor: tensor + 1, answer)
    assert type(changed) is type(answer)
    assert [*changed] == [*answer] == ["logits", "hidden_states"]
    assert float(changed.logits) == float(changed["logits"]) == 2
    assert [float(tensor) for tensor in tensors_in(changed)] == [2, 3, 4]
    assert float(answer.logits) == 1


def test_only_floating_numbers_are_floating() -> None:
    tree = [torch.tensor(1), number(1.0), torch.tensor(True), torch.tensor(1.0, dtype=torch.float16)]
    assert [tensor.dtype for tensor in floating_tensors(tree)] == [torch.float32, torch.float16]
    changed = map_tensors(as_float64, tree)
    assert [tensor.dtype for tensor in changed] == [torch.int64, torch.float64, torch.bool, torch.float64]


def test_a_tree_behaves_like_the_batch_that_it_is() -> None:
    tree = TensorTree.of({"words": torch.arange(6).reshape(3, 2), "weights": torch.ones(3)})
    assert (len(tree), tree.shape, tree.ndim, tree.is_floating_point()) == (3, (3, 2), 2, True)
    part = tree[1:]
    assert torch.equal(part.value["words"], torch.tensor([[2, 3], [4, 5]]))
    double = tree.double()
    assert (double.value["words"].dtype, double.value["weights"].dtype) == (torch.int64, torch.float64)
    marked = tree.clone().requires_grad_()
    assert marked.value["weights"].requires_grad
    assert not tree.value["weights"].requires_grad


def test_a_tree_without_a_tensor_is_refused() -> None:
    with pytest.raises(UsageError, match="batches: there is no tensor in a dict") as refusal:
        TensorTree.of({"words": "none"})
    assert (refusal.value.argument, refusal.value.found) == ("batches", "a dict")
