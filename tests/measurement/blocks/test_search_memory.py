"""Blocks with what earlier searches found: those that a search of its own finds, for fewer passes."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.blocks.search_memory import SearchMemory, digest
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.measurement.surface.examination import varied_over
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.parameter_choice import choose_parameters
from bnsharp_cli.models import lenet_bn
from tests.cases import images, vectors
from tests.measurement.blocks.switched_networks import Activated, Capped, Configured, Grown, Mask, Stopped, Switched
from tests.measurement.networks import MaximumNorm, NormedEmbedding, sentences

Batches = tuple[tuple[Tensor, Tensor], ...]


def searched(module: nn.Module, batches: Batches, memory: SearchMemory | None, partition: str) -> tuple[Blocks, Cost]:
    surface = LossSurface.of(module, batches)
    before = surface.counter.all
    return find_blocks(surface, surface.point(), partition, memory=memory), surface.counter.all - before


def same(one: Blocks, other: Blocks) -> bool:
    plain = [(blocks.partition, blocks.relative, blocks.joint, blocks.tensors, blocks.notes) for blocks in (one, other)]
    return plain[0] == plain[1] and all(
        one.rows[name].axis == entry.axis and torch.equal(one.rows[name].block, entry.block)
        for name, entry in other.rows.items()
    )


def in_every_order(networks: list[nn.Module], batches: Batches, partition: str = "paper") -> list[Blocks]:
    """The blocks of each network by a search of its own, which no order of searches with a memory changes."""
    alone = [searched(network, batches, None, partition)[0] for network in networks]
    for order in itertools.permutations(range(len(networks))):
        memory = SearchMemory()
        for number in order:
            assert same(searched(networks[number], batches, memory, partition)[0], alone[number]), order
    return alone


def lenet(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return lenet_bn(1, 10, 8)


def tampered(change: Callable[[nn.Module], None]) -> nn.Module:
    network = lenet(1)
    with torch.no_grad():
        change(network)
    return network


def without_readers(network: nn.Module) -> None:
    """No output depends on half of the rows of a layer, which then looks invariant."""
    network.linear2.weight[:, :60] = 0


def dead(network: nn.Module) -> None:
    network.norm1.bias[:3] = -100.0


def behind_zeros(network: nn.Module) -> None:
    network.norm2.weight[::2] = 0
    network.norm2.bias[::2] = 0


def zero_rows(network: nn.Module) -> None:
    network.conv2.weight[:5] = 0


def huge(network: nn.Module) -> None:
    network.output.weight.mul_(1e15)


PIXELS = images(samples=16, channels=1)
TAMPERED = [without_readers, dead, behind_zeros, zero_rows, huge]
SIX_ORDERS = pytest.mark.slow(
    reason="the six orders of three checkpoints; those of two are always tried",
    quick="tests/measurement/blocks/test_search_memory.py::test_no_order_of_checkpoints_changes_blocks",
)


@pytest.mark.parametrize("partition", ["paper", "extended"])
@pytest.mark.parametrize("change", TAMPERED, ids=lambda change: change.__name__)
@pytest.mark.parametrize("seeds", [(0,), pytest.param((0, 2), marks=SIX_ORDERS)])
def test_no_order_of_checkpoints_changes_blocks(
    change: Callable[[nn.Module], None], partition: str, seeds: tuple[int, ...]
) -> None:
    in_every_order([tampered(change), *map(lenet, seeds)], PIXELS, partition)


@pytest.mark.parametrize(("partition", "share"), [("paper", 0.55), ("extended", 0.55)])
def test_the_second_checkpoint_costs_less(partition: str, share: float) -> None:
    memory = SearchMemory()
    first, second = (searched(lenet(seed), PIXELS, memory, partition)[1] for seed in (0, 1))
    assert second.forward <= share * first.forward
    assert second.backward <= share * first.backward
    assert searched(lenet(1), PIXELS, None, partition)[1] == first


def test_other_samples_need_no_full_search() -> None:
    """The generic location of images has random ones."""
    memory = SearchMemory()
    (inputs, labels), *_ = PIXELS
    first = searched(lenet(0), PIXELS, memory, "paper")[1]
    second = searched(lenet(0), ((inputs + 1, labels),), memory, "paper")[1]
    assert second.forward < first.forward


def test_rows_that_the_weights_make_invariant() -> None:
    """Rows longer than their limit are, shorter ones are not, and what scaling by 2 says depends on the limits."""
    torch.manual_seed(0)
    networks: list[nn.Module] = [MaximumNorm([limit] * 6) for limit in (1e-3, 1.0, 1.9, 1e3)]
    found = in_every_order(networks, vectors())
    assert len({blocks.invariant for blocks in found}) > 1


def limited(limits: list[float], lengths: list[float]) -> nn.Module:
    """Rows of some lengths, which count as no longer than their limits."""
    torch.manual_seed(0)
    network = MaximumNorm(limits)
    with torch.no_grad():
        network.weight.mul_((torch.tensor(lengths) / network.weight.norm(dim=1))[:, None])
    return network


def test_other_rows_are_scaled_at_the_generic_location_too() -> None:
    """Long rows are invariant by ½ and 2, but not those of the usual length, which a generic location has."""
    networks = [limited([1.0] * 6, [length] * 6) for length in (0.1, 1e3)]
    found = in_every_order(networks, vectors())
    assert found[1].invariant < 6


def test_as_many_other_rows_are_scaled_too() -> None:
    limits = [0.01] * 3 + [0.5] * 3
    networks = [limited(limits, [1.0] * 3 + [0.1] * 3), limited(limits, [0.005] * 3 + [4.0] * 3)]
    found = in_every_order(networks, vectors())
    assert found[0].invariant == 3
    assert found[1].invariant < 3


@pytest.mark.parametrize("partition", ["paper", "extended"])
def test_reasons_and_joint_sets_are_those_of_the_rows(partition: str) -> None:
    found = in_every_order([Switched(1e-3), Switched(1.0)], vectors(), partition)
    reasons = [{tensor.name: tensor.reason for tensor in blocks.tensors} for blocks in found]
    assert [one["hidden.weight"] for one in reasons] == ["not scale-invariant", "normalised by norm"]


def test_a_buffer_that_decides() -> None:
    assert [blocks.invariant for blocks in in_every_order([Mask(0.0), Mask(1.0)], vectors())] == [0, 6]


def test_what_only_the_outputs_show() -> None:
    assert [blocks.invariant for blocks in in_every_order([Configured(False), Configured(True)], vectors())] == [0, 6]


def test_a_buffer_that_only_the_scaling_meets() -> None:
    found = in_every_order([Capped(1e9), Capped(5.0)], vectors())
    assert found[0].invariant > found[1].invariant


def test_a_setting_that_no_output_shows() -> None:
    assert [blocks.invariant for blocks in in_every_order([Stopped(True), Stopped(False)], vectors())] == [0, 6]


def test_another_activation() -> None:
    networks = [Activated(one) for one in (nn.ReLU(), nn.GELU(), nn.LeakyReLU(0.1), nn.LeakyReLU(0.2))]
    assert [blocks.invariant for blocks in in_every_order([*networks], vectors())] == [6, 0, 6, 6]


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
def test_compiled_code_and_settings_that_hold_themselves() -> None:
    networks: list[nn.Module] = [Activated(torch.jit.script(one)) for one in (nn.ReLU(), nn.GELU())]
    assert [blocks.invariant for blocks in in_every_order(networks, vectors())] == [6, 0]
    odd = Activated(nn.ReLU())
    odd.itself = [1.0]
    odd.itself.append(odd.itself)
    in_every_order([odd, Activated(nn.GELU())], vectors())


def test_code_that_reads_the_weights() -> None:
    assert [blocks.invariant for blocks in in_every_order([Grown(1.0), Grown(1e-3)], vectors())] == [6, 0]


def test_rows_of_later_samples() -> None:
    networks: list[nn.Module] = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(NormedEmbedding())
    with torch.no_grad():
        networks[1].words.weight[3:9] = 0
    in_every_order(networks, sentences())


def test_statistics_may_differ_and_what_is_not_varied_may_not() -> None:
    memory, other = SearchMemory(), lenet(0)
    other.norm1.running_mean.add_(1)
    full = searched(lenet(0), PIXELS, memory, "paper")[1]
    assert searched(other, PIXELS, memory, "paper")[1].forward < full.forward
    chosen = []
    for seed in (0, 1, 1):
        network = lenet(seed)
        surface = varied_over(LossSurface.of(network, PIXELS), choose_parameters(network, ("conv*",)))
        before = surface.counter.all
        found = find_blocks(surface, surface.point(), memory=memory)
        chosen.append((surface.counter.all - before).forward)
        assert same(found, find_blocks(surface, surface.point()))
    assert chosen[0] == chosen[1] > chosen[2]


def test_what_is_remembered_is_bounded() -> None:
    memory = SearchMemory()
    for width in range(2, 14):
        network = nn.Sequential(nn.Linear(4, width, bias=False), nn.BatchNorm1d(width), nn.Linear(width, 3))
        searched(network, vectors(), memory, "paper")
    assert len(memory.found) == 8


@pytest.mark.parametrize(
    "tensor", [torch.ones(2, dtype=torch.bfloat16), torch.ones(()), torch.ones(2, dtype=torch.complex64), torch.ones(0)]
)
def test_a_digest_is_of_every_bit(tensor: Tensor) -> None:
    assert digest(tensor) == digest(tensor.clone())
    assert digest(tensor) != digest(tensor.unsqueeze(0))
    if tensor.numel():
        assert digest(tensor) != digest(-tensor)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
def test_a_sparse_tensor_counts_with_every_bit_and_place(layout: torch.layout) -> None:
    dense = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    other, moved = dense.clone(), dense.flip(0)
    other[0, 1] += 1e-6
    digests = [digest(one.to_sparse(layout=layout)) for one in (dense, dense.clone(), other, moved)]
    assert digests[0] == digests[1]
    assert len({*digests}) == 3
