"""What is set around a call, and how parameters were made: the same value, or a refusal whose remedy works."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError, UsageError
from tests.border.networks import ROWS, Net, batches, mean_loss
from tests.border.oracle import bn_along_gradient

OPTIONS: dict[str, Any] = {"iterations": 0, "rtol": 1e-6}


def expected() -> float:
    return bn_along_gradient(Net(), mean_loss(), ROWS)


def test_parameters_and_data_that_were_made_in_inference_mode() -> None:
    with torch.inference_mode():
        model, data = Net(), [(x.clone(), y.clone()) for x, y in batches()]
    assert bnsharp_cli.measure(model, data, **OPTIONS).value == pytest.approx(expected(), rel=2e-4)
    assert bnsharp_cli.find_blocks(model, data).invariant == 16
    assert bnsharp_cli.rescale_test(model, data, ball_samples=2).invariant


def test_hooks_for_saved_tensors_around_the_call() -> None:
    model, data = Net(), batches()
    for call in (bnsharp_cli.measure, bnsharp_cli.find_blocks, bnsharp_cli.rescale_test):
        with torch.autograd.graph.save_on_cpu(), pytest.raises(UsageError, match="save_on_cpu"):
            call(model, data)
    assert bnsharp_cli.measure(model, data, **OPTIONS).value == pytest.approx(expected(), rel=2e-4)


def test_another_default_device() -> None:
    model, data = Net(), batches()
    torch.set_default_device("meta")
    try:
        for call in (bnsharp_cli.measure, bnsharp_cli.find_blocks, bnsharp_cli.rescale_test):
            with pytest.raises(UsageError, match="default device is meta") as refused:
                call(model, data)
        assert "with torch.device('cpu'):" in refused.value.remedy
        with torch.device("cpu"):
            assert bnsharp_cli.measure(model, data, **OPTIONS).value == pytest.approx(expected(), rel=2e-4)
    finally:
        torch.set_default_device(None)


class Recomputing(Net):
    """A function of its own inside the checkpoint, which reads the weights when it runs again."""

    reentrant = False

    def forward(self, x: Tensor) -> Tensor:
        return self.head(checkpoint(lambda inputs: self.body(inputs), x, use_reentrant=self.reentrant))


class ReentrantlyRecomputing(Recomputing):
    reentrant = True


@pytest.mark.parametrize("network", [Recomputing, ReentrantlyRecomputing])
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_checkpoints_are_refused_and_never_run_with_other_weights(network: type[nn.Module]) -> None:
    for call in (bnsharp_cli.measure, bnsharp_cli.find_blocks, bnsharp_cli.rescale_test):
        with pytest.raises(NotMeasurableError, match=r"checkpoint|without gradients") as refused:
            call(network(), batches())
        assert "checkpoint" in refused.value.remedy
