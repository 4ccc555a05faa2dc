"""Objects that people leave beside weights: of libraries, and of a module that is gone when they are read."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import functools
import re
import sys
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from tests.io.checkpoints.test_weights import net, weights

MODULE = "bnsharp_foreign"
SOURCE = """
import enum, torch
class Plain:
    def __init__(self, **entries): self.__dict__.update(entries)
class Entries(dict):
    def __init__(self, *parts, **entries): super().__init__(*parts, **entries); self.__dict__ = self
class Items(list): pass
class Phase(enum.Enum):
    TRAIN = "train"
class Node:
    def __init__(self): self.parent, self.children = self, [self]
class New:
    def __new__(cls, *, rate): return super().__new__(cls)
    def __getnewargs_ex__(self): return (), {"rate": 0.1}
class Tagged(torch.Tensor): pass
class Average:
    def __init__(self, network): self.module, self.decay = network, 0.9
class Whole(torch.nn.Linear): pass
"""


def written(path: Path, content: object, *, legacy: bool = False) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the legacy format misses the source of a module's class
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    sys.modules.pop(MODULE, None)
    return path


def of_libraries() -> Mapping[str, tuple[object, str]]:
    named_fields = np.zeros(2, dtype=[("a", "f4")])
    return {
        "datetime": (datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), "datetime.datetime"),
        "decimal": (decimal.Decimal("1.0"), "decimal.Decimal"),
        "deque": (collections.deque([1, 2]), "collections.deque"),
        "range": (range(3), "builtins.xrange"),
        "slice": (slice(1, 2), "builtins.slice"),
        "uuid": (uuid.uuid4(), "uuid.UUID"),
        "partial": (functools.partial(torch.optim.SGD, lr=0.1), "functools.partial"),
        "class": (torch.optim.SGD, "torch.optim.sgd.SGD"),
        "class that is known": (collections.OrderedDict, "collections.OrderedDict"),
        "function": (nn.functional.relu, "torch.nn.functional.relu"),
        "method": (nn.ReLU().forward, "builtins.getattr"),
        "loss": (nn.CrossEntropyLoss(), "torch.nn.modules.loss.CrossEntropyLoss"),
        "complex number of numpy": (np.complex64(1), "numpy.generic"),
        "text of numpy": (np.str_("resnet18"), "numpy.generic"),
        "time of numpy": (np.datetime64("2024-01-01"), "numpy.generic"),
        "texts of numpy": (np.array(["a", "b"]), "numpy.ndarray"),
        "objects of numpy": (np.array([{}], dtype=object), "numpy.ndarray"),
        "fields of numpy": (named_fields, "numpy.ndarray"),
        "bytes turned round": (np.ones(3, dtype=">f8"), "numpy.ndarray"),
        "generator of numpy": (np.random.default_rng(0), "numpy.random._pickle.__generator_ctor"),
        "type of numpy": (np.dtype("U8"), "numpy.dtype"),
        "large number": (2**70, "builtins.int"),
        "larger number": (-(2**3000), "builtins.int"),
    }


def of_its_own(module: Any) -> Mapping[str, tuple[object, str]]:
    return {
        "plain": (module.Plain(rate=0.1, inner=module.Plain()), "Plain"),
        "entries that are its attributes": (module.Entries(rate=0.1, inner={"a": [1]}), "Entries"),
        "items": (module.Items([1, 2, 3]), "Items"),
        "member of an enum": (module.Phase.TRAIN, "Phase"),
        "what holds itself": (module.Node(), "Node"),
        "what takes keywords": (module.New(rate=0.1), None),
    }


def holders(module: Any) -> Mapping[str, object]:
    """Each with tensors inside: as an argument, in a state, among items, shared, or far below."""
    tensor = torch.ones(3)
    node = module.Node()
    network = nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    node.child = module.Plain(parent=node, weight=tensor)
    return {
        "a loss with weights": nn.CrossEntropyLoss(weight=torch.ones(2)),
        "an average": module.Average(nn.Linear(2, 2)),
        "a whole module": module.Whole(2, 2),
        "an optimiser, in which parameters are keys": optimiser,
        "a schedule": torch.optim.lr_scheduler.StepLR(optimiser, 1),
        "items": module.Items([tensor]),
        "entries": module.Entries(weight=tensor),
        "a function with an argument": functools.partial(torch.add, tensor),
        "a circle": node,
        "a dict in a list in a tuple": module.Plain(inner=([{"a": tensor}],)),
        "a namespace inside": module.Plain(inner=argparse.Namespace(weight=tensor)),
        "a set of ordered dicts": module.Plain(inner=collections.OrderedDict(a=collections.Counter({1: 2}), b=tensor)),
        "objects of numpy": np.array([tensor, None], dtype=object),
        "a tensor of its own class": torch.ones(3).as_subclass(module.Tagged),
        "a sparse tensor": torch.eye(3).to_sparse(),
        "a storage": tensor.untyped_storage(),
    }


def assert_the_remedy_works(remedy: str, folder: Path) -> None:
    printed = re.search(r"torch\.save\(.*\)", remedy)
    assert printed
    exec(printed[0], {"torch": torch, "model": net(), "FILE": folder / "remedied.pt"})
    assert {*load_checkpoint(folder / "remedied.pt").state_dict} == {*weights()}
