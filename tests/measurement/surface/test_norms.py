"""The interception of norms: every way to call one, and one arithmetic for all of a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.core.rescale import uniform_factors
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.invariance.copies import Copier
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.norm_call import NormCall, same_for_all_samples
from bnsharp_cli.measurement.surface.norms import NormInterception, NormTreatment
from tests.cases import vectors

Function = Callable[..., Tensor]


class Normed(nn.Module):
    """A layer normalised by any function, and one after it."""

    def __init__(self, norm: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.output, self.norm = nn.Linear(4, 6, bias=False), nn.Linear(6, 3), norm

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output(torch.tanh(self.norm(self.hidden(inputs))))


def layer_norms() -> dict[str, Callable[[Tensor], Tensor]]:
    """One layer norm, in every way that networks call it."""
    aten = torch.ops.aten
    return {
        "functional": lambda x: functional.layer_norm(x, (6,)),
        "torch": lambda x: torch.layer_norm(x, (6,)),
        "aten": lambda x: aten.layer_norm(x, [6]),
        "aten.default": lambda x: aten.layer_norm.default(x, [6], eps=1e-5),
        "float": lambda x: functional.layer_norm(x.float(), (6,)).to(x.dtype),
        "to": lambda x: functional.layer_norm(x.to(torch.float32), (6,)).type_as(x),
        "type": lambda x: functional.layer_norm(x.type(dtype=torch.float32), (6,)).type(x.dtype),
        "mixed": lambda x: (
            functional.layer_norm(x, (6,), torch.ones(6)) + functional.softmax(0 * x, -1, dtype=torch.half)
        ),
    }


@pytest.mark.parametrize("way", layer_norms())
def test_a_norm_is_seen_however_it_is_called(way: str) -> None:
    surface = LossSurface.of(Normed(layer_norms()[way]), vectors(), dtype=torch.float64)
    point = surface.point()
    blocks = find_blocks(surface, point)
    assert blocks.invariant == 1
    copy = Copier(surface, point, blocks).copy("copy", uniform_factors(1, 1e-3))
    assert abs(copy.exact.value(copy.point) - surface.value(point)) < 1e-13
    assert abs(copy.stored.value(copy.point) - surface.value(point)) > 0.01


X = torch.arange(48, dtype=torch.float64).reshape(2, 6, 4).sin() * 1e-2
CALLS: dict[str, tuple[Function, Function]] = {
    "batch": (
        lambda x, eps: functional.batch_norm(x, None, None, training=True, eps=eps),
        lambda x, eps: torch.batch_norm(x, None, None, None, None, True, 0.1, eps, False),
    ),
    "instance": (
        lambda x, eps: functional.instance_norm(x, eps=eps),
        lambda x, eps: torch.instance_norm(x, None, None, None, None, True, 0.1, eps, False),
    ),
    "group": (
        lambda x, eps: functional.group_norm(x, 3, eps=eps),
        lambda x, eps: torch.group_norm(x, 3, None, None, eps),
    ),
    "layer": (
        lambda x, eps: functional.layer_norm(x, (4,), eps=eps),
        lambda x, eps: torch.layer_norm(x, (4,), None, None, eps),
    ),
    "rms": (
        lambda x, eps: functional.rms_norm(x, (4,), eps=eps),
        lambda x, eps: torch.rms_norm(x, (4,), None, eps),
    ),
}
SLOTS = {"batch": (6,), "instance": (2, 6), "group": (2, 3), "layer": (2, 6), "rms": (2, 6)}


@pytest.mark.parametrize("way", [0, 1], ids=["functional", "torch"])
@pytest.mark.parametrize("kind", CALLS)
def test_epsilon_is_scaled_slot_by_slot(kind: str, way: int) -> None:
    """(x − μ)/√(σ² + s²ε) by hand for every slot, against the interception."""
    seen: list[NormCall] = []
    with NormInterception(NormTreatment(), lambda _, call: seen.append(call)):
        CALLS[kind][way](X, 1e-3)
    (call,) = seen
    assert call.kind == kind
    assert call.epsilon == 1e-3
    assert call.slots().shape[:-1] == SLOTS[kind]
    scale = torch.linspace(0.3, 3.0, call.slots().shape[:-1].numel()).double().reshape(SLOTS[kind])
    with NormInterception(NormTreatment(input_scales=(scale,))):
        found = CALLS[kind][way](X, 1e-3)
    mean = call.over_input(call.slots().mean(-1)) if kind != "rms" else 0.0
    variance = call.slots().square().mean(-1) - (call.slots().mean(-1).square() if kind != "rms" else 0.0)
    torch.testing.assert_close(found, (X - mean) / call.over_input(variance + scale.square() * 1e-3).sqrt())


@pytest.mark.parametrize("kind", CALLS)
def test_cleaning_changes_neither_norm_nor_gradient(kind: str) -> None:
    def derived(treatment: NormTreatment) -> tuple[Tensor, Tensor]:
        x = (X + 0.1).requires_grad_()
        with NormInterception(treatment):
            y = CALLS[kind][0](x, 1e-24)
        return y, torch.autograd.grad(y, x, torch.ones_like(y).cumsum(-1).cos())[0]

    torch.testing.assert_close(derived(NormTreatment(epsilon=1e-24)), derived(NormTreatment()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["batch", "instance", "group", "layer"])
def test_a_constant_slot_has_neither_output_nor_gradient_without_epsilon(kind: str) -> None:
    x = torch.full_like(X, 0.1).requires_grad_()
    with NormInterception(NormTreatment(epsilon=1e-24)):
        y = CALLS[kind][0](x * 3.0, 1e-5)
    assert not y.any()
    assert not torch.autograd.grad(y.sum(), x)[0].any()


def test_an_rms_norm_without_epsilon_has_that_of_float32_in_both_precisions() -> None:
    x = torch.full((1, 4), 1e-4)
    for dtype in (torch.float32, torch.float64):
        with NormInterception(NormTreatment()):
            found = functional.rms_norm(x.to(dtype), (4,))
        expected = 1e-4 / (1e-8 + torch.finfo(torch.float32).eps) ** 0.5
        assert found.tolist()[0] == pytest.approx([expected] * 4, rel=1e-5)


def test_what_differs_from_sample_to_sample_is_not_shared() -> None:
    call = NormCall("layer", {"input": torch.zeros(3, 2, 4), "normalized_shape": (4,), "eps": 1e-5})
    heads = torch.tensor([2.0, 5.0]).double().expand(3, 2)
    torch.testing.assert_close(same_for_all_samples(call, heads), heads[:1])
    torch.testing.assert_close(
        same_for_all_samples(call, torch.full((3, 2), 2.0).double()), torch.full((1, 1), 2.0).double()
    )
    assert same_for_all_samples(call, heads.cumsum(0)) is None
    partly, wholly = torch.full((3, 2), torch.nan).double(), torch.full((3, 2), torch.nan).double()
    partly[1, 0] = 2.0
    torch.testing.assert_close(same_for_all_samples(call, partly), torch.full((1, 1), 2.0).double())
    torch.testing.assert_close(same_for_all_samples(call, wholly), torch.ones(1, 1).double())


class Recurrent(nn.Module):
    """Hidden states that begin as zeros of the default type, and outputs that are kept in a buffer made ahead."""

    def __init__(self, words: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(9, 4) if words else None
        self.lstm, self.output = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        state = (torch.zeros(1, inputs.size(0), 5), torch.zeros(1, inputs.shape[0], 5))
        vectors = inputs if self.embedding is None else self.embedding(inputs)
        hidden, _ = self.lstm(vectors, state)
        kept = torch.zeros(len(inputs), 3)
        for step in range(inputs.shape[1]):
            kept[:, step % 3] = hidden[:, step].softmax(-1)[:, 0]
        return self.output(hidden[:, -1]) + kept


@pytest.mark.parametrize("words", [False, True])
def test_hidden_states_of_the_default_type_serve_a_float64_run(words: bool) -> None:
    """The same network all in float64, called as it is, is the reference."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randint(9, (6, 4), generator=generator) if words else torch.randn(6, 4, 4, generator=generator)
    surface = LossSurface.of(Recurrent(words), [(inputs, torch.zeros(6).long())], dtype=torch.float64)
    point = surface.point()
    torch.set_default_dtype(torch.float64)
    try:
        reference = Recurrent(words)
        reference.load_state_dict(point)
        with torch.no_grad():
            expected = reference(inputs if words else inputs.double())
    finally:
        torch.set_default_dtype(torch.float32)
    (found,) = surface.outputs(point, inputs)
    assert found.dtype == torch.float64
    assert float((found - expected).abs().max()) < 1e-15
    assert find_blocks(surface, point).invariant == 0
    assert LossSurface.of(Recurrent(words), surface.batches).value(point) == pytest.approx(
        surface.value(point), rel=1e-6
    )


def test_float32_runs_keep_what_is_as_precise_or_more() -> None:
    with NormInterception(NormTreatment()):
        x = torch.ones(3)
        assert (x.half().dtype, x.double().dtype, torch.zeros(2).dtype) == (
            torch.float32,
            torch.float64,
            torch.float32,
        )
