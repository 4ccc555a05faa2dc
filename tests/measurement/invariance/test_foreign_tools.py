"""Other tools on the same copies: called as they are, and kept from failing, printing or changing anything."""

from __future__ import annotations

import copy
import logging
import sys
import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.measurement.invariance.exposed_network import ExposedNetwork
from bnsharp_cli.measurement.invariance.foreign_tools import NamedPoint, foreign_rows, installed_tools
from bnsharp_cli.measurement.invariance.invariance_row import Invariance
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.measurement.invariance.test_balanced import batches, copies_of, network_of, normed_mlp


def places_of(network: nn.Module, *, statistics: bool = True) -> list[NamedPoint]:
    surface = LossSurface.of(network, batches(), batch_statistics=statistics, dtype=torch.float64)
    return [("original", "", surface, surface.point())]


def rows_of(hessian: Any, places: Sequence[NamedPoint]) -> dict[str, Any]:
    return {row.name: row for row in foreign_rows({"pyhessian": SimpleNamespace(hessian=hessian)}, places)}


class Chatty:
    """A tool that prints, warns, logs, draws, moves weights and answers."""

    def __init__(self, model: nn.Module, criterion: Any, data: Any, cuda: bool) -> None:
        self._loss = criterion(model(data[0]), data[1])
        with torch.no_grad():
            next(model.parameters()).zero_()

    def eigenvalues(self) -> Any:
        sys.stdout.write("printed")
        sys.stderr.write("said")
        warnings.warn("warned", UserWarning, stacklevel=1)
        logging.basicConfig(level=logging.INFO)
        logging.getLogger("theirs").error("logged")
        self.drawn = torch.rand(1), np.random.rand()  # noqa: NPY002
        return [float(self._loss)], None

    def trace(self) -> Any:
        raise ValueError("no\x1b[31m trace\nand more")


def test_what_a_tool_does_stays_inside_and_its_failure_is_a_row(capfd: pytest.CaptureFixture[str]) -> None:
    network = network_of(normed_mlp)
    before, handlers, level = copy.deepcopy(network.state_dict()), [*logging.root.handlers], logging.root.level
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    rows = rows_of(Chatty, places_of(network))
    assert capfd.readouterr() == ("", "")
    assert (logging.root.handlers, logging.root.level, logging.root.manager.disable) == (handlers, level, 0)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    (images, targets), plain = batches()[0], copy.deepcopy(network).train()
    expected = float(functional.cross_entropy(plain(images.double()), targets))
    assert rows["pyhessian-max"].original.value == pytest.approx(expected, rel=1e-5)
    failed = rows["pyhessian-trace"]
    assert failed.verdict is Invariance.UNMEASURED
    assert "On original it fails: ValueError: no\\x1b[31m trace" in failed.sentence
    assert "and more" not in failed.sentence


def test_no_number_is_a_row_without_values() -> None:
    class Lost(Chatty):
        def eigenvalues(self) -> Any:
            return [float("nan")], None

    row = rows_of(Lost, places_of(network_of(normed_mlp)))["pyhessian-max"]
    assert row.verdict is Invariance.UNMEASURED
    assert "it gives nan" in row.sentence


@pytest.mark.parametrize("statistics", [True, False], ids=["batch", "running"])
def test_a_tool_sees_every_copy_as_the_same_function(statistics: bool) -> None:
    """With the ε of norms as usual, so that a plain module with the copy's weights would be another function."""
    torch.manual_seed(0)
    network = normed_mlp()
    surface = LossSurface.of(network, batches(), batch_statistics=statistics, dtype=torch.float64)
    inputs, _ = batches()[0]
    original = ExposedNetwork(surface, surface.point())(inputs)
    with torch.no_grad():
        expected = copy.deepcopy(network).train(statistics)(inputs)
    assert torch.allclose(original, expected, rtol=1e-4, atol=1e-5)
    for one in copies_of(network, statistics=statistics).copies:
        exposed = ExposedNetwork(one.rescaled.exact, one.rescaled.point).eval()
        assert torch.allclose(exposed(inputs), expected, rtol=1e-3, atol=1e-4), one.name
        assert {name.removeprefix("network.") for name, _ in exposed.named_parameters()} == {*surface.point()}


def test_a_network_of_several_inputs_is_refused_in_a_row() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, one: Tensor, other: Tensor) -> Tensor:
            return self.second(functional.relu(self.first(one + other)))

    torch.manual_seed(0)
    data = [((torch.randn(8, 4), torch.randn(8, 4)), torch.arange(8) % 3)]
    table = bnsharp_cli.invariance_table(Two(), data, measure="all", ball_samples=2)
    others = [row for row in table.rows if row.tool]
    assert all("It takes networks of one tensor alone." in row.sentence for row in others)
    assert {row.tool.split()[0] for row in others} == {*installed_tools()}


def test_pyhessian_finds_the_eigenvalue_and_the_trace_of_the_hessian() -> None:
    tool = pytest.importorskip("pyhessian")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 3), nn.Tanh(), nn.Linear(3, 4)).double()
    (images, targets), names = batches()[0], [name for name, _ in network.named_parameters()]
    shapes = [parameter.shape for parameter in network.parameters()]

    def loss(vector: Tensor) -> Tensor:
        parts = [
            part.reshape(shape)
            for part, shape in zip(vector.split([*map(torch.Size.numel, shapes)]), shapes, strict=True)
        ]
        state = dict(zip(names, parts, strict=True))
        return functional.cross_entropy(torch.func.functional_call(network, state, (images.double(),)), targets)

    theta = nn.utils.parameters_to_vector(network.parameters()).detach()
    matrix = torch.autograd.functional.hessian(loss, theta)
    rows = {row.name: row for row in foreign_rows({"pyhessian": tool}, places_of(network))}
    largest = float(torch.linalg.eigvalsh(matrix).abs().max())
    assert rows["pyhessian-max"].original.value == pytest.approx(largest, rel=1e-2)
    trace = rows["pyhessian-trace"].original
    assert abs(trace.value - float(matrix.trace())) < 5 * max(trace.sampling, 1e-2 * trace.value)


def test_nngeom_and_weightwatcher_answer_and_are_moved() -> None:
    pytest.importorskip("nngeom")
    pytest.importorskip("weightwatcher")
    network = network_of(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 60), nn.ReLU(), nn.Linear(60, 4)))
    table = bnsharp_cli.invariance_table(network, batches(), measure="all", ball_samples=2)
    assert table["nngeom-sharpness"].verdict is Invariance.ANYTHING
    assert table["ww-alpha"].verdict in {Invariance.MOVES, Invariance.ANYTHING}
    assert not table["ww-alpha"].followed["neuron"]
    assert table["ww-alpha"].original.value == pytest.approx(_alpha_alone(network), rel=1e-6)
    assert "weightwatcher 0.7.7" in table["ww-alpha"].sentence


def test_a_network_without_a_layer_for_weightwatcher_says_so() -> None:
    tool = pytest.importorskip("weightwatcher")
    small = nn.Sequential(nn.Flatten(), nn.Linear(192, 3), nn.ReLU(), nn.Linear(3, 4))
    rows = [*foreign_rows({"weightwatcher": tool}, places_of(small))]
    assert [row.name for row in rows] == ["ww-alpha", "ww-flags"]
    assert all("It analyses no layer of the network" in row.sentence for row in rows)


def _alpha_alone(network: nn.Module) -> float:
    """As WeightWatcher's documentation has it."""
    tool = installed_tools()["weightwatcher"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        details = tool.WeightWatcher(model=copy.deepcopy(network).float()).analyze()
    return float(details["alpha"].mean())
