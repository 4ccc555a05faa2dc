"""Which entries of a file are taken as weights, and under which names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnsharp_cli.errors import CheckpointRefusedError, UsageError, named
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.checkpoints.entries import plain_entries
from bnsharp_cli.io.checkpoints.state_dicts import choose_weights, find_state_dicts, without_wrappers
from bnsharp_cli.models import lenet_bn
from tests.cli.helpers import bnsharp, one_error

FILE = Path("net.pt")


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))


def weights(factor: float = 1.0) -> dict[str, Tensor]:
    tensors = net().state_dict()
    return {name: tensor * factor if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"state_dict": weights(), "model": {"depth": 3}}, "state_dict"),
        ({"model": weights(), "model_ema": weights(2)}, "model"),
        ({"ema_state_dict": weights(), "net": weights(2)}, "net"),
        ({"ema": {"module": weights(), "decay": 0.9}}, "ema.module"),
        ({"model": {"state_dict": weights()}, "ema": {"module": weights(2)}}, "model.state_dict"),
        ({"generator": weights(), "optimizer": {"momentum": weights(2)}, "epoch": 3}, "generator"),
        ({"state_dict": weights(), "metrics": {"loss": torch.tensor(0.5)}, "mean": torch.ones(3)}, "state_dict"),
        (weights(), ""),
    ],
    ids=str,
)
def test_the_key_that_is_taken(content: dict[str, Any], key: str) -> None:
    chosen = choose_weights(FILE, content)
    assert chosen.key == key
    assert set(chosen.tensors) == set(weights())
    assert len(chosen.notes) == (len(find_state_dicts(content)) > 1)


@pytest.mark.parametrize(
    ("count", "says"),
    [
        (torch.tensor(3), "an average of 3 states"),
        (torch.tensor([3]), "an average of 3 states"),
        (torch.tensor(3.0), "an average (n"),
        (torch.tensor(1 + 1j), "an average (n"),
        (torch.tensor(2**64 - 1, dtype=torch.uint64), "an average (n"),
        (torch.ones(2, dtype=torch.int64), "an average (n"),
    ],
)
def test_an_average_is_one_whatever_its_count_is(count: Tensor, says: str) -> None:
    chosen = choose_weights(FILE, {"n_averaged": count, **prefixed("module.", weights())})
    assert set(chosen.tensors) == set(weights())
    assert says in chosen.notes[0]


@pytest.mark.parametrize(
    ("names", "fits"),
    [
        ([f"layers.{n}.experts.{m}.weight" for n in range(40) for m in range(40)], True),
        (["a." * 99 + "w"], True),
        (["a." * 99 + "w", *(f"{n}." + "a." * 20 + "w" for n in range(50))], False),
        (["a." * 100 + "w"], False),
        (["w" * 1001], False),
        ([f"a.{n}.b.c.w" for n in range(3)], True),
    ],
    ids=range(6),
)
def test_names_stand_for_as_many_modules_as_networks_have(names: list[str], fits: bool) -> None:
    content = {name: torch.ones(2) for name in names}
    if fits:
        assert choose_weights(FILE, content).tensors.keys() == content.keys()
        return
    with pytest.raises(CheckpointRefusedError, match=r"The names? of .* more than"):
        choose_weights(FILE, content)


def test_several_that_fit_are_listed_and_the_one_that_is_taken_said() -> None:
    chosen = choose_weights(FILE, {"state_dict_ema": weights(), "other": weights(), "state_dict": weights()})
    assert chosen.notes == (
        f"net.pt holds several state_dicts: state_dict, state_dict_ema, other; state_dict is taken, see {named('key')}",
    )


def test_several_without_a_known_name_are_the_users_choice() -> None:
    content = {"generator": weights(), "discriminator": weights(2)}
    with pytest.raises(
        CheckpointRefusedError, match=r"several state_dicts: generator, discriminator\. Choose one with key\."
    ):
        choose_weights(FILE, content)
    chosen = choose_weights(FILE, content, "discriminator")
    assert torch.equal(chosen.tensors["0.bias"], weights(2)["0.bias"])
    assert chosen.notes == ()


def test_a_key_may_name_a_part_of_a_state_dict() -> None:
    both = {**prefixed("student.net.", weights()), **prefixed("teacher.", weights(2))}
    for content, key in (({"state_dict": both}, "state_dict.student.net"), (both, "student.net")):
        chosen = choose_weights(FILE, content, key)
        assert chosen.key == key
        assert set(chosen.tensors) == set(weights())


@pytest.mark.parametrize(
    ("content", "listed"),
    [
        ({"state_dict": weights(), "state_dict_ema": weights()}, "it has state_dict, state_dict_ema"),
        ({**prefixed("a.", weights()), **prefixed("b.", weights())}, "it has a, b"),
    ],
)
@pytest.mark.parametrize("key", ["state", ".", "state_dict.nothing", "\x1b[31mred"])
def test_a_wrong_key_lists_what_is_there(content: dict[str, Any], listed: str, key: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_weights(FILE, content, key)
    assert listed in caught.value.reason
    assert "\x1b" not in caught.value.reason


def test_the_command_takes_the_key_and_says_what_it_took(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": lenet_bn(1, 10, 8).state_dict(), "ema": lenet_bn(1, 10, 8).state_dict()}, tmp_path / "n.pt"
    )
    rest = ("--arch", "lenet-bn", "--data", "digits", "--samples", 32, "--batch-size", 16)
    for command in ("measure", "check", "rescale-test"):
        wrong = bnsharp(command, "n.pt", "--key", "none", *rest, folder=tmp_path, expect=2)
        assert "n.pt has no weights at 'none'; it has state_dict, ema" in one_error(wrong)
    said = "n.pt holds several state_dicts: state_dict, ema; state_dict is taken, see --key"
    taken = bnsharp("measure", "n.pt", *rest, "--json", folder=tmp_path)
    first, *others = taken.stderr.splitlines()
    assert first == f"bnsharp: {said}"
    assert any(line.startswith("bnsharp: WARNING: accuracy") for line in others)  # it was never trained
    assert json.loads(taken.stdout)["checkpoint"]["notes"] == [said]
    named = bnsharp("measure", "n.pt", "--key", "ema", *rest, "--json", folder=tmp_path)
    assert "see --key" not in named.stderr
    assert json.loads(named.stdout)["checkpoint"]["key"] == "ema"
    assert json.loads(named.stdout)["loss"] != json.loads(taken.stdout)["loss"]


@pytest.mark.parametrize("names", [[10**5000], [10**5000, "a"], []], ids=len)
def test_names_that_are_none(names: list[Any]) -> None:
    tensors = {name: torch.ones(2) for name in names}
    for content in (tensors, {"state_dict": tensors}, dict.fromkeys(names, 1)):
        with pytest.raises(CheckpointRefusedError, match=r"no state_dict|without name"):
            choose_weights(FILE, content)


@pytest.mark.parametrize("hostile", ["wide", "shared"])
def test_the_search_is_bounded(hostile: str) -> None:
    inner = {str(index): {"a": {"b": 1}} for index in range(300)}
    content: dict[str, Any] = {str(index): inner for index in range(300)}
    if hostile == "wide":
        content = {str(index): {str(index): {str(index): 1}} for index in range(10**5)}
    assert find_state_dicts(content) == {}


def test_plain_entries_leave_tensors_and_optimisers_out() -> None:
    content = {"epoch": 3, "args": {"lr": [0.1, None]}, "mean": torch.ones(1), "optimizer": {"lr": 1}, "odd": object()}
    assert plain_entries(content) == {"epoch": 3, "args": {"lr": [0.1, None]}}


def test_one_entry_that_is_not_plain_does_not_drop_the_rest() -> None:
    args = {"model": "resnet18", "device": torch.device("cuda"), "weights": [torch.zeros(1)], 3: 4}
    content = {"args": args, "device": torch.device("cpu"), "only": {"it": object()}, "best": None}
    assert plain_entries(content) == {"args": {"model": "resnet18"}, "best": None}


def test_plain_entries_are_walked_once_however_often_they_are_shared() -> None:
    laughs: list[Any] = ["ha"]
    for _ in range(60):
        laughs = [laughs] * 10
    assert plain_entries({"laughs": laughs}) == {"laughs": laughs}


@pytest.mark.parametrize(
    ("names", "plain"),
    [
        (["module.a", "module.b"], ["a", "b"]),
        (["module.module.a", "module.module.b"], ["a", "b"]),
        (["module._orig_mod.a", "module._orig_mod.b"], ["a", "b"]),
        (["_orig_mod.module.a"], ["a"]),
        (["body._orig_mod.a", "head.b"], ["body.a", "head.b"]),
        (["_fsdp_wrapped_module.body._checkpoint_wrapped_module.a"], ["body.a"]),
        (["module.a", "b"], ["module.a", "b"]),
        (["a._orig_mod.b", "a.b"], ["a._orig_mod.b", "a.b"]),
        ([], []),
    ],
)
def test_marks_of_wrappers(names: list[str], plain: list[str]) -> None:
    assert list(without_wrappers(names).values()) == plain


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "holds no state_dict, a dictionary of nothing but tensors by their names: only an empty dictionary."),
        ({"deep": {"w": torch.ones(2, 2), "n": 3}}, "nothing but tensors by their names: only deep."),
        ({"weights": [torch.ones(2, 2)]}, "nothing but tensors by their names: only weights."),
        ({"w": torch.ones(2, 2), "epoch": 3}, "'epoch' is an int, expected a tensor of a state_dict."),
        ({0: torch.ones(2, 2)}, "an entry without name is a Tensor, expected a tensor of a state_dict."),
    ],
)
def test_what_is_no_state_dict_is_said_as_it_is(tmp_path: Path, content: object, said: str) -> None:
    """Tensors may well be there by their names, beside something else or deeper down."""
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(CheckpointRefusedError) as refused:
        load_checkpoint(tmp_path / "net.pt")
    assert refused.value.reason.endswith(said)
