"""Networks that recompute activations in the backward pass are refused before they give a wrong gradient."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.surface.foreign_errors import accepting
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.recomputation import outputs_with_whole_graph
from tests.cases import images, mlp_bn, vectors


class Checkpointed(nn.Module):
    """Two halves, of which either is recomputed."""

    def __init__(self, half: int, reentrant: bool) -> None:
        super().__init__()
        layers = list(mlp_bn())
        self.halves = nn.ModuleList([nn.Sequential(*layers[:3]), nn.Sequential(*layers[3:])])
        self.half, self.reentrant = half, reentrant

    def forward(self, inputs: Tensor) -> Tensor:
        for number, half in enumerate(self.halves):
            again = number == self.half
            inputs = checkpoint(half, inputs, use_reentrant=self.reentrant) if again else half(inputs)
        return inputs


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("half", [0, 1])
def test_gradient_checkpointing_is_refused_with_a_remedy(half: int, reentrant: bool) -> None:
    surface = LossSurface.of(Checkpointed(half, reentrant), vectors())
    with pytest.raises(NotMeasurableError, match=r"torch\.utils\.checkpoint") as refusal:
        find_blocks(surface, surface.point())
    assert refusal.value.remedy.startswith("Switch gradient checkpointing off")


def test_checkpointing_that_only_training_uses_is_no_matter() -> None:
    class InTraining(Checkpointed):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) if self.training else self.halves[1](self.halves[0](inputs))

    surface = LossSurface.of(InTraining(0, False).train(), vectors())
    assert find_blocks(surface, surface.point()).invariant == 12


def test_a_densenet_that_saves_memory_is_refused_and_the_same_without_is_not() -> None:
    for saves in (True, False):
        torch.manual_seed(0)
        module = torchvision.models.DenseNet(4, (2,), 8, bn_size=2, num_classes=4, memory_efficient=saves)
        surface = LossSurface.of(module, images(size=32))
        if saves:
            with pytest.raises(NotMeasurableError, match=r"torch\.utils\.checkpoint"):
                find_blocks(surface, surface.point())
        else:
            assert find_blocks(surface, surface.point()).invariant == 32


def test_other_refusals_keep_their_reason() -> None:
    surface = LossSurface.of(mlp_bn(inputs=5), vectors())
    with pytest.raises(NotMeasurableError, match="does not accept a batch of"):
        find_blocks(surface, surface.point())


def test_a_network_that_fails_with_gradients_alone_keeps_its_reason() -> None:
    class WithoutGradient(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                raise RuntimeError("no gradients here")
            return super().forward(inputs)

    surface = LossSurface.of(WithoutGradient(4, 3), vectors())
    with pytest.raises(NotMeasurableError, match="no gradients here"):
        find_blocks(surface, surface.point())


def test_any_hook_on_what_is_saved_is_recognised_without_running_twice_where_there_is_none() -> None:
    runs = []

    def plain() -> list[Tensor]:
        runs.append("plain")
        return [torch.ones(2, requires_grad=True).exp()]

    def offloaded() -> list[Tensor]:
        with accepting("The network refused", "Mend it."), torch.autograd.graph.save_on_cpu():
            return plain()

    assert outputs_with_whole_graph(plain)[0].requires_grad
    assert runs == ["plain"]
    with pytest.raises(NotMeasurableError) as refusal:
        outputs_with_whole_graph(offloaded)
    assert refusal.value.found == "gradient checkpointing"
