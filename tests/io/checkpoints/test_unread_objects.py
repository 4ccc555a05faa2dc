"""Objects of other classes beside the weights: not read, never imported, and said where weights may be in them."""

from __future__ import annotations

import argparse
import datetime
import io
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bnsharp_cli.errors import CheckpointRefusedError, UsageError, named
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.checkpoints.unread_objects import Unread
from tests.cli.helpers import bnsharp
from tests.io.checkpoints.foreign_objects import (
    MODULE,
    SOURCE,
    assert_the_remedy_works,
    holders,
    of_its_own,
    of_libraries,
    written,
)
from tests.io.checkpoints.test_weights import weights


@pytest.fixture
def foreign() -> Any:
    """A module that is gone before anything is read."""
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    exec(SOURCE, vars(module))
    for entry in vars(module).values():
        if isinstance(entry, type):
            entry.__module__ = MODULE
    yield module
    sys.modules.pop(MODULE, None)


def places(unread: tuple[Unread, ...]) -> dict[str, tuple[str, bool]]:
    return {one.place: (one.name, one.holds_tensors) for one in unread}


@pytest.mark.parametrize("legacy", [False, True])
def test_what_stands_beside_weights_is_not_read_and_the_weights_are(tmp_path: Path, foreign: Any, legacy: bool) -> None:
    for name, (value, kind) in {**of_libraries(), **of_its_own(foreign)}.items():
        sys.modules[MODULE] = foreign
        content = {"state_dict": weights(), "epoch": 3, "config": {"deep": [value]}}
        theirs = io.BytesIO()
        torch.save(content, theirs)
        theirs.seek(0)
        expected = torch.load(theirs, weights_only=False)["state_dict"]
        checkpoint = load_checkpoint(written(tmp_path / "net.pt", content, legacy=legacy))
        assert MODULE not in sys.modules, name
        assert checkpoint.key == "state_dict"
        assert {*checkpoint.state_dict} == {*expected}
        assert all(torch.equal(checkpoint.state_dict[entry], tensor) for entry, tensor in expected.items())
        ((place, (found, holds_tensors)),) = places(checkpoint.unread).items()
        assert (place, holds_tensors) == ("config.deep.0", False), name
        if kind is not None:
            assert found == (kind if "." in kind else f"{MODULE}.{kind}"), name
        assert checkpoint.metadata == {"epoch": 3}
        assert checkpoint.notes == ()


def test_plain_values_beside_them_are_read(tmp_path: Path) -> None:
    arguments = argparse.Namespace(model="resnet18", start=datetime.datetime(2024, 1, 1), rate=np.float32(0.5))
    content = {"state_dict": weights(), "args": arguments, "classes": frozenset({"a"}), "seed": 2**70}
    checkpoint = load_checkpoint(written(tmp_path / "net.pt", content))
    assert checkpoint.metadata == {"args": {"model": "resnet18", "rate": 0.5}}
    assert {*places(checkpoint.unread)} == {"args.start", "seed"}


def test_they_may_be_keys_and_members_of_sets(tmp_path: Path, foreign: Any) -> None:
    phase, day = foreign.Phase.TRAIN, datetime.date(2024, 1, 1)
    content = {"state_dict": weights(), phase: 1, "days": {day: 2, (day, 1): 3}, "seen": {phase}, 2**70: 4}
    checkpoint = load_checkpoint(written(tmp_path / "net.pt", content))
    assert {name for name, _ in places(checkpoint.unread).values()} == {
        f"{MODULE}.Phase", "datetime.date", "builtins.int",
    }  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_inside_them_are_said(tmp_path: Path, foreign: Any, legacy: bool) -> None:
    for name, value in holders(foreign).items():
        if legacy and name == "a storage":
            continue  # the legacy format has typed storages alone
        sys.modules[MODULE] = foreign
        path = written(tmp_path / "net.pt", {"state_dict": weights(), "beside": [value]}, legacy=legacy)
        checkpoint = load_checkpoint(path)
        ((place, (kind, holds_tensors)),) = places(checkpoint.unread).items()
        assert (place, holds_tensors) == ("beside.0", True), name
        assert checkpoint.notes == (f"the tensors inside 'beside.0' ({kind}) are not read",)
        assert all(torch.equal(checkpoint.state_dict[entry], tensor) for entry, tensor in weights().items())


def test_tensors_of_an_optimiser_are_not_worth_a_word(tmp_path: Path, foreign: Any) -> None:
    content = {"state_dict": weights(), "optimizer": foreign.Average(nn.Linear(2, 2))}
    checkpoint = load_checkpoint(written(tmp_path / "net.pt", content))
    assert checkpoint.notes == ()
    assert len(checkpoint.unread) == 1


def test_shared_tensors_are_inside_and_beside(tmp_path: Path, foreign: Any) -> None:
    tensors = weights()
    content = {"state_dict": tensors, "old": foreign.Plain(state=tensors)}
    checkpoint = load_checkpoint(written(tmp_path / "net.pt", content))
    assert places(checkpoint.unread) == {"old": (f"{MODULE}.Plain", True)}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        lambda foreign: foreign.Whole(2, 2),
        lambda foreign: {"model": foreign.Whole(2, 2), "epoch": 3},
        lambda foreign: {"epoch": 3, "ema": foreign.Whole(2, 2), "config": datetime.date(2024, 1, 1)},
        lambda foreign: {"checkpoint": {"inner": [foreign.Whole(2, 2)]}},
    ],
)
def test_a_file_whose_weights_are_all_in_objects_is_refused(
    tmp_path: Path, foreign: Any, content: Any, legacy: bool
) -> None:
    path = written(tmp_path / "net.pt", content(foreign), legacy=legacy)
    with pytest.raises(CheckpointRefusedError, match=f"{MODULE}.Whole") as caught:
        load_checkpoint(path)
    assert "nothing in it was executed" in caught.value.reason
    assert MODULE not in sys.modules
    assert_the_remedy_works(caught.value.remedy, tmp_path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda foreign, tensors: {**tensors, "0.bias": tensors["0.bias"].as_subclass(foreign.Tagged)},
        lambda foreign, tensors: {**tensors, "0.bias": torch.eye(4).to_sparse()},
        lambda foreign, tensors: {**tensors, "0.bias": foreign.Plain()},
        lambda foreign, tensors: {**tensors, foreign.Phase.TRAIN: tensors["0.bias"]},
        lambda foreign, tensors: {**tensors, 2**70: tensors["0.bias"]},
        lambda foreign, tensors: foreign.Entries(tensors),
        lambda foreign, tensors: foreign.Plain(tensors=tensors),
    ],
)
@pytest.mark.parametrize("key", ["state_dict", ""])
def test_a_weight_a_name_or_a_container_of_weights_that_is_not_read_is_named(
    tmp_path: Path, foreign: Any, spoil: Any, key: str
) -> None:
    spoilt = spoil(foreign, weights())
    path = written(tmp_path / "net.pt", {key: spoilt} if key else spoilt)
    with pytest.raises(CheckpointRefusedError) as caught:
        load_checkpoint(path)
    assert re.search(rf"{MODULE}\.\w+|sparse tensor|builtins\.int", caught.value.reason)
    assert_the_remedy_works(caught.value.remedy, tmp_path)


def test_weights_that_would_come_first_are_never_passed_over(tmp_path: Path, foreign: Any) -> None:
    content = {"model": foreign.Whole(2, 2), "ema": {"module": weights()}, "epoch": 3}
    path = written(tmp_path / "net.pt", content)
    with pytest.raises(CheckpointRefusedError) as caught:
        load_checkpoint(path)
    assert f"'model' is a {MODULE}.Whole, whose tensors are not read" in caught.value.reason
    found = re.search(rf"{named('key')} (\S+)\.", caught.value.marked_remedy)
    assert found
    assert found[1] == "ema.module"
    checkpoint = load_checkpoint(path, found[1])
    assert torch.equal(checkpoint.state_dict["0.bias"], weights()["0.bias"])
    assert checkpoint.notes == (f"the tensors inside 'model' ({MODULE}.Whole) are not read",)
    assert_the_remedy_works(caught.value.remedy, tmp_path)


@pytest.mark.parametrize("entry", ["criterion", "hyper_parameters", "teacher", "ema"])
def test_what_comes_later_is_a_note(tmp_path: Path, foreign: Any, entry: str) -> None:
    content = {entry: {"inner": foreign.Whole(2, 2)}, "model": weights()}
    checkpoint = load_checkpoint(written(tmp_path / "net.pt", content))
    assert checkpoint.key == "model"
    assert checkpoint.notes == (f"the tensors inside '{entry}.inner' ({MODULE}.Whole) are not read",)


def test_a_key_that_leads_into_an_object_says_so(tmp_path: Path, foreign: Any) -> None:
    path = written(tmp_path / "net.pt", {"state_dict": weights(), "ema": foreign.Whole(2, 2)})
    with pytest.raises(UsageError, match=f"'ema' is a {MODULE}.Whole, which is not read") as caught:
        load_checkpoint(path, "ema")
    assert "it has state_dict" in caught.value.reason


def test_many_are_counted_and_none_is_walked_twice(tmp_path: Path, foreign: Any) -> None:
    shared = [foreign.Plain()]
    for _ in range(10):
        shared = [shared, shared, foreign.Plain()]
    content = {"state_dict": weights(), "many": [foreign.Plain() for _ in range(1000)], "shared": shared}
    content |= {f"with {number}": foreign.Whole(1, 1) for number in range(10)}
    checkpoint = load_checkpoint(written(tmp_path / "net.pt", content))
    assert sum(one.holds_tensors for one in checkpoint.unread) == 10
    assert 11 <= len(checkpoint.unread) <= 1000
    assert checkpoint.notes[0].endswith("and 6 more are not read")


def test_inspect_lists_them(tmp_path: Path, foreign: Any) -> None:
    hyper_parameters = {"config": foreign.Plain(), "loss": nn.CrossEntropyLoss(weight=torch.ones(2))}
    written(tmp_path / "net.pt", {"state_dict": weights(), "hyper_parameters": hyper_parameters})
    printed = bnsharp("inspect", "net.pt", folder=tmp_path).stdout
    loss = "torch.nn.modules.loss.CrossEntropyLoss"
    assert "not read    hyper_parameters.loss:" in printed
    flat = " ".join(printed.split())
    assert f"hyper_parameters.loss: {loss}, tensors inside hyper_parameters.config: {MODULE}.Plain" in flat
    assert f"note: the tensors inside 'hyper_parameters.loss' ({loss}) are not read" in flat
    document = json.loads(bnsharp("inspect", "net.pt", "--json", folder=tmp_path).stdout)
    assert document["unread"] == [
        {"place": "hyper_parameters.loss", "name": loss, "holds_tensors": True},
        {"place": "hyper_parameters.config", "name": f"{MODULE}.Plain", "holds_tensors": False},
    ]
