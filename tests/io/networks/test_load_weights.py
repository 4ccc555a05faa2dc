"""Weights put into networks: under which names, what is left out, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.checkpoints.state_dicts import choose_weights
from bnsharp_cli.io.networks import load_weights as loading
from bnsharp_cli.io.networks.load_weights import load_tensors, load_weights
from bnsharp_cli.io.networks.weights_comparison import WeightsComparison, memory_of
from tests.io.checkpoints.test_weights import FILE, net, prefixed, weights


def fitted(tensors: Mapping[str, Tensor], module: nn.Module | None = None) -> nn.Module:
    """A network of other random weights, with ``tensors`` put into it."""
    module = module or net()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(7.0)
    load_tensors(module, tensors, Path("net.pt"))
    return module


def same(module: nn.Module, tensors: Mapping[str, Tensor]) -> bool:
    return all(
        torch.equal(left, right) for left, right in zip(module.state_dict().values(), tensors.values(), strict=True)
    )


@pytest.mark.parametrize("part", ["module.", "a.", "_orig_mod."])
def test_names_without_end(part: str) -> None:
    averages = {"module." * depth + "n_averaged": torch.tensor(2) for depth in range(80)}
    for content in ({part * 80: torch.ones(2)}, {**averages, part * 80 + "a": torch.ones(2)}):
        with pytest.raises(CheckpointRefusedError, match="does not fit"):
            load_tensors(net(), choose_weights(FILE, content).tensors, Path("net.pt"))


@pytest.mark.parametrize("prefix", ["", "model.", "net.", "backbone.", "model.net.", "network.model.module."])
def test_leading_parts_that_all_names_share_are_left_off(prefix: str) -> None:
    assert same(fitted(prefixed(prefix, weights())), weights())


@pytest.mark.parametrize("name", ["model", "net", "module"])
def test_a_network_whose_own_names_begin_so_keeps_them(name: str) -> None:
    def wrapped() -> nn.Module:
        return nn.ModuleDict({name: net()})

    own = wrapped().state_dict()
    for found in (own, prefixed("model.", own), weights()):
        assert same(fitted(found, wrapped()), own)


def test_one_of_two_networks_in_a_file_is_not_guessed() -> None:
    both = {**prefixed("student.", weights()), **prefixed("teacher.", weights(2))}
    with pytest.raises(CheckpointRefusedError) as caught:
        load_tensors(net(), both, Path("net.pt"), "state_dict")
    assert "choose its weights: key state_dict.student, key state_dict.teacher." in caught.value.remedy


def test_what_is_no_loss_beside_a_network_is_not_left_out() -> None:
    with_head = {**prefixed("model.", weights()), "head.weight": torch.ones(2, 2)}
    with pytest.raises(CheckpointRefusedError) as caught:
        load_tensors(net(), with_head, Path("net.pt"), "state_dict")
    assert "choose its weights: key state_dict.model." in caught.value.remedy


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("extra", ["criterion.weight", "train_acc.total", "model_loss.margin", "val_f1.tp"])
def test_losses_and_metrics_beside_a_network_are_left_out_and_named(prefix: str, extra: str) -> None:
    module = net()
    notes = load_tensors(module, {**prefixed(prefix, weights()), extra: torch.ones(2)}, Path("net.pt"))
    assert notes == (f"left out as no part of the network: {extra}",)
    assert same(module, weights())


def test_a_missing_weight_is_never_forgiven() -> None:
    for name in weights():
        found = {key: tensor for key, tensor in weights().items() if key != name}
        if name.endswith("num_batches_tracked"):
            assert load_tensors(net(), found, Path("net.pt")) == (
                "the file has no num_batches_tracked, which nothing here uses",
            )
            continue
        with pytest.raises(CheckpointRefusedError, match=f"lacks {name}"):
            load_tensors(net(), {**prefixed("model.", found), "model.criterion.weight": torch.ones(1)}, Path("net.pt"))


def test_the_work_is_in_proportion_to_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def counted(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> WeightsComparison:
        compared.append(len(found))
        return WeightsComparison(("missing",), tuple(found), ())

    monkeypatch.setattr(WeightsComparison, "of", counted)
    names = {f"{number}.b.c.w": torch.ones(1) for number in range(20_000)}
    with pytest.raises(CheckpointRefusedError, match="does not fit"):
        load_tensors(net(), names, Path("net.pt"))
    assert 20_000 <= sum(compared) <= 8 * 20_000


def test_what_the_network_needs_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(tensor: Tensor) -> object:
        asked.append(tensor)
        return memory_of(tensor)

    monkeypatch.setattr(loading, "memory_of", counted)
    names = {f"{number}.b.c.w": torch.ones(1) for number in range(2_000)}
    with pytest.raises(CheckpointRefusedError, match="does not fit"):
        load_tensors(net(), names, Path("net.pt"))
    assert 0 < len(asked) <= 4 * len(weights())


def test_whole_numbers_for_weights_are_refused() -> None:
    found = {**weights(), "0.bias": torch.ones(4, dtype=torch.int64)}
    with pytest.raises(CheckpointRefusedError, match=r"'0.bias' is torch.int64, expected torch.float32"):
        load_tensors(net(), found, Path("net.pt"))


def test_counts_of_batches_may_be_of_any_kind() -> None:
    module, halves = net(), {name: tensor.half() for name, tensor in weights().items()}
    load_tensors(module, halves, Path("net.pt"))
    assert torch.equal(module[0].weight, halves["0.weight"].float())


def test_precision_follows_the_file_and_never_the_factory(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "net.pt")
    module = net().half()
    load_weights(module, load_checkpoint(tmp_path / "net.pt"))
    assert same(module, weights())


def test_what_a_network_keeps_beside_tensors_is_its_own() -> None:
    class Counting(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"calls": 3}

        def set_extra_state(self, state: dict[str, int]) -> None:
            assert state == {"calls": 3}

    bare = {name: tensor for name, tensor in Counting(2, 2).state_dict().items() if isinstance(tensor, Tensor)}
    assert torch.equal(fitted(bare, Counting(2, 2)).weight, bare["weight"])


def test_networks_without_memory_are_compared_by_name_alone() -> None:
    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(CheckpointRefusedError, match=r"lacks 1\.weight, 1\.bias"):
        load_tensors(module, nn.Sequential(nn.Linear(2, 2)).state_dict(), Path("net.pt"))


def test_a_network_that_objects_is_one_line(tmp_path: Path) -> None:
    class Picky(nn.Linear):
        def _load_from_state_dict(self, *arguments: Any) -> None:
            raise KeyError("not mine\nat all")

    with pytest.raises(CheckpointRefusedError, match=r"it says KeyError: 'not mine"):
        load_tensors(Picky(2, 2), Picky(2, 2).state_dict(), Path("net.pt"))


class Masked(nn.Module):
    """A network whose output is masked by a buffer, and which has a parameter that is called like one."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.net, self.scale = nn.Linear(3, 2), nn.Parameter(torch.ones(2))
        self.register_buffer("mask", mask)


@pytest.mark.parametrize("infinite", [torch.inf, -torch.inf])
def test_infinite_values_of_a_buffer_are_read_and_told(infinite: float, tmp_path: Path) -> None:
    torch.save(Masked(torch.tensor([0.0, infinite])).state_dict(), tmp_path / "net.pt")
    module = Masked(torch.zeros(2))
    notes = load_weights(module, load_checkpoint(tmp_path / "net.pt"))
    assert module.mask.tolist() == [0.0, infinite]
    assert notes == ("infinite values in buffers of the network: mask",)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool])
def test_masks_of_whole_numbers_are_read(dtype: torch.dtype, tmp_path: Path) -> None:
    mask = torch.tensor([1, 0]).to(dtype)
    torch.save(Masked(mask).state_dict(), tmp_path / "net.pt")
    module = Masked(torch.ones_like(mask))
    assert load_weights(module, load_checkpoint(tmp_path / "net.pt")) == ()
    assert torch.equal(module.mask, mask)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_observers_that_have_seen_nothing_are_read(tmp_path: Path) -> None:
    def observed() -> nn.Module:
        module = nn.Sequential(nn.Linear(3, 2)).train()
        module.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
        return torch.ao.quantization.prepare_qat(module)

    torch.save(observed().state_dict(), tmp_path / "net.pt")
    (note,) = load_weights(observed(), load_checkpoint(tmp_path / "net.pt"))
    assert "min_val" in note


@pytest.mark.parametrize(("name", "value"), [("scale", torch.inf), ("net.weight", torch.inf), ("mask", torch.nan)])
def test_parameters_that_are_infinite_and_masks_that_are_nan_are_refused(
    name: str, value: float, tmp_path: Path
) -> None:
    state = Masked(torch.zeros(2)).state_dict()
    state[name] = torch.full_like(state[name], value)
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(CheckpointRefusedError, match=f"'{name}' has . NaN or infinite"):
        load_weights(Masked(torch.zeros(2)), load_checkpoint(tmp_path / "net.pt"))


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    state = Masked(torch.zeros(2)).state_dict() | {"scale": torch.ones(2, dtype=torch.uint8)}
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(CheckpointRefusedError, match=r"'scale' is torch.uint8"):
        load_weights(Masked(torch.zeros(2)), load_checkpoint(tmp_path / "net.pt"))
