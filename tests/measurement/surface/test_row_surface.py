"""A surface that holds no second copy of the weights: losses, gradients, memory, and what it leaves alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

import bnsharp_cli
from bnsharp_cli.core import row_points
from bnsharp_cli.core.row_points import RowPoint
from bnsharp_cli.errors import NotMeasurableError, UnfitMeasureError, UsageError
from bnsharp_cli.measurement.blocks.relative import relative_blocks
from bnsharp_cli.measurement.measures.rounding import loss_rounding
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.row_surface import RowSurface
from tests.measurement.row_networks import NETWORKS, made

Batches = list[tuple[Tensor, Tensor]]


@pytest.fixture(params=["whole", "by rows"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Weights of these small networks in one piece, and in many as those of large ones."""
    if request.param == "by rows":
        monkeypatch.setattr(row_points, "PIECE", 32)
    return request.param


def surface_of(network: nn.Module, batches: Batches, dtype: torch.dtype = torch.float64) -> RowSurface:
    return RowSurface.of(network, batches, batch_statistics=False, dtype=dtype)


def moved(surface: RowSurface) -> RowPoint:
    point = surface.point()
    return point.plus(point.normal(5), 0.05)


def plain(network: nn.Module, point: RowPoint) -> nn.Module:
    """The network in float64 with the weights of a point written into it."""
    own = copy.deepcopy(network).double().eval()
    with torch.no_grad():
        for name, parameter in own.named_parameters():
            parameter.copy_(point[name])
    return own


def plain_loss(network: nn.Module, batches: Batches) -> Tensor:
    losses = []
    for inputs, targets in batches:
        given = inputs.double() if inputs.is_floating_point() else inputs
        losses.append(functional.cross_entropy(network(given), targets))
    return torch.stack(losses).mean()


def digits(name: str) -> float:
    """What transformers computes in float32 whatever its weights are, our surfaces compute in float64."""
    return 1e-7 if name in {"gpt2", "llama"} else 1e-12


@pytest.mark.parametrize("name", NETWORKS)
def test_the_loss_is_that_of_a_network_with_these_weights(name: str, pieces: str) -> None:
    network, batches = made(name)
    surface = surface_of(network, batches)
    point = moved(surface)
    exact = float(plain_loss(plain(network, point), batches).detach())
    assert surface.value(point) == pytest.approx(exact, rel=digits(name))
    usual = LossSurface.of(network, batches, batch_statistics=False, dtype=torch.float64)
    assert surface.value(point) == pytest.approx(usual.value(dict(point)), rel=1e-13)
    assert surface.value(point) != pytest.approx(surface.value(surface.point()), rel=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_is_autograds(name: str, pieces: str) -> None:
    network, batches = made(name)
    surface = surface_of(network, batches)
    point = moved(surface)
    loss, gradient = surface.value_and_gradient(point)
    own = plain(network, point)
    expected = plain_loss(own, batches)
    named = dict(own.named_parameters())
    found = torch.autograd.grad(expected, [*named.values()], allow_unused=True, materialize_grads=True)
    assert loss == pytest.approx(float(expected.detach()), rel=digits(name))
    for each, exact in zip(named, found, strict=True):
        torch.testing.assert_close(gradient[each], exact, rtol=1e3 * digits(name), atol=digits(name))


class _Interrupting(nn.Module):
    """Ends a pass with an error in its middle, once it is asked to."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.error, self.left = network, [None], [0]

    def __deepcopy__(self, memo: dict[int, Any]) -> _Interrupting:
        same = _Interrupting(copy.deepcopy(self.network, memo))
        same.error, same.left = self.error, self.left
        return same

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.network[0](inputs)
        if self.error[0] is not None:
            self.left[0] -= 1
            if self.left[0] < 0:
                raise self.error[0]
        return self.network[1:](found)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), RuntimeError("broken")], ids=repr)
@pytest.mark.parametrize("measure", ["noise", "critical-radius"])
def test_the_weights_are_the_same_bits_after_any_end(error: BaseException, measure: str) -> None:
    torch.manual_seed(0)
    network = _Interrupting(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)))
    batches = [(torch.randn(8, 4), torch.randint(3, (8,)))]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    versions = {name: tensor._version for name, tensor in network.state_dict().items()}
    network.error[0], network.left[0] = error, 12  # type: ignore[call-overload]  # after the examination
    with pytest.raises((KeyboardInterrupt, bnsharp_cli.errors.BnsharpError)):
        bnsharp_cli.measure(network, batches, name=measure, memory="small")
    assert network.left[0] < 0
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor.view(torch.int32), before[name].view(torch.int32))
        assert tensor._version == versions[name]


class LiveBytes(TorchDispatchMode):
    """The most bytes that tensors made inside held at a time."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.most, self._live = 0, dict[int, tuple[StorageWeakRef, int]]()
        self._known = {parameter.untyped_storage()._cdata for parameter in network.parameters()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {leaf.untyped_storage()._cdata for leaf in tree_iter((args, kwargs)) if isinstance(leaf, Tensor)}
        answer = func(*args, **(kwargs or {}))
        for leaf in tree_iter(answer):
            storage = leaf.untyped_storage() if isinstance(leaf, Tensor) else None
            if storage and leaf.device.type != "meta" and storage._cdata not in given | self._known:
                self._live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._live = {key: one for key, one in self._live.items() if not one[0].expired()}
        self.most = max(self.most, sum(size for _, size in self._live.values()))
        return answer


def wide() -> tuple[nn.Module, Batches]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(1000, 512), nn.Flatten(), nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 1000))
    return network, [(torch.randint(1000, (2, 1)), torch.randint(1000, (2,)))]


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_a_noisy_loss_and_its_rounding_hold_a_tenth_of_the_weights(
    stored: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_points, "PIECE", 2**12)
    network, batches = wide()
    network = network.to(stored)
    weights = sum(parameter.nbytes for parameter in network.parameters())
    for kind, least, most in ((RowSurface, 0, 0.1), (LossSurface, 2, 20)):
        surface = kind.of(network, batches, dtype=torch.float32)
        with LiveBytes(network) as live:
            point = surface.point()
            spheres = relative_blocks(surface.module, point, "filter").spheres_at(point)
            moved = spheres.on_segment(point, spheres.random(point, torch.Generator().manual_seed(0)), 0.1)
            losses = surface.batch_losses([moved])
            loss_rounding(surface, moved, losses[0])
        assert least * weights < live.most < most * weights


def test_the_gradient_holds_one_vector_and_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_points, "PIECE", 2**12)
    network, batches = wide()
    weights = sum(parameter.nbytes for parameter in network.parameters())
    surface = surface_of(network, batches, torch.float32)
    with LiveBytes(network) as live:
        surface.value_and_gradient(surface.point())
    largest = 1000 * 512 * 4
    assert weights < live.most < weights + 2.5 * largest


@pytest.fixture
def batches() -> Batches:
    torch.manual_seed(1)
    return [(torch.randn(8, 4), torch.randint(3, (8,)))]


@pytest.mark.filterwarnings("ignore")  # torch wants scripted code to be written otherwise, and warns of copies of it
def test_weights_that_are_used_past_the_copy_are_refused(batches: Batches) -> None:
    network = nn.Sequential(nn.Linear(4, 4), torch.jit.script(nn.Linear(4, 3)))
    with pytest.raises(NotMeasurableError, match=r"uses some weights of the network itself"):
        bnsharp_cli.measure(network, batches, name="noise", memory="small")


def test_a_loss_that_reads_the_network_is_refused(batches: Batches) -> None:
    network = nn.Linear(4, 3)

    def penalised(outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets) + network.weight.square().sum()

    with pytest.raises(UnfitMeasureError, match=r"reads the network's weights itself.*Leave out memory small"):
        bnsharp_cli.measure(network, batches, penalised, name="noise", memory="small")
    bnsharp_cli.measure(network, batches, penalised, name="noise", noise_draws=2)


def test_complex_weights_are_refused(batches: Batches) -> None:
    network = nn.Sequential(nn.Linear(4, 3, dtype=torch.complex64))
    with pytest.raises(UnfitMeasureError, match="complex weights, which memory small does not follow"):
        bnsharp_cli.measure(network, batches, lambda outputs, _: outputs.abs().mean(), "noise", memory="small")


def test_other_measures_are_refused_with_what_to_do(batches: Batches) -> None:
    network = nn.Linear(4, 3)
    with pytest.raises(UnfitMeasureError, match="Measure noise or critical-radius, or leave out memory small"):
        bnsharp_cli.measure(network, batches, name="bn", memory="small")
    found = bnsharp_cli.measure(network, batches, measure="all", memory="small", relative_to="layer", noise_draws=2)
    assert "noise" in [one.name for one in found]
    assert "bn" in found.skipped
    with pytest.raises(UnfitMeasureError, match="Choose relative_to filter, layer or element"):
        bnsharp_cli.measure(network, batches, name="noise", memory="small", relative_to="partition")


def test_bfloat16_is_for_small_memory_alone(batches: Batches) -> None:
    with pytest.raises(UsageError, match="precision: expected auto, float32 or float64, unless memory is small"):
        bnsharp_cli.measure(nn.Linear(4, 3), batches, name="noise", precision="bfloat16")


def test_parameters_that_no_batch_uses_are_refused(batches: Batches) -> None:
    network = nn.Linear(4, 3)
    network.idle = nn.Linear(2, 2)
    with pytest.raises(NotMeasurableError, match=r"The loss depends on none of idle\.\*"):
        bnsharp_cli.measure(network, batches, name="noise", memory="small", parameters="idle.*")


def test_rescaled_copies_need_memory(batches: Batches) -> None:
    with pytest.raises(UsageError, match="Only measures take small: leave memory out"):
        bnsharp_cli.rescale_test(nn.Linear(4, 3), batches, memory="small")
