"""What docs/faq.md answers is true."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import bnsharp_cli
from bnsharp_cli.errors import BnsharpError
from tests.page_files import given_names


@pytest.fixture
def given() -> dict[str, Any]:
    return given_names()


@pytest.fixture
def model(given: dict[str, Any]) -> nn.Module:
    return given["model"]


@pytest.fixture
def loader(given: dict[str, Any]) -> Any:
    return given["loader"]


def test_noise_and_average_may_be_negative_and_say_that_chance_decides(model: nn.Module, loader: Any) -> None:
    small = {"noise": {"sigma": (1e-3,)}, "adaptive": {"adaptive_kind": "average", "adaptive_rho": 1e-4}}
    for name, options in small.items():
        found = [bnsharp_cli.measure(model, loader, name=name, seed=seed, **options) for seed in range(6)]
        assert any(one.value < 0 for one in found), name
        assert all(one.status == "below-resolution" or abs(one.value) < 4 * one.uncertainty.sampling for one in found)


def test_the_smallest_eigenvalue_and_the_margin_of_an_untrained_network_are_negative(
    model: nn.Module, loader: Any
) -> None:
    assert bnsharp_cli.measure(model, loader, name="hessian").details["smallest"] < 0
    assert bnsharp_cli.measure(model, loader, name="margin").value < 0


def test_a_value_below_the_resolution_is_resolved_in_float64(model: nn.Module, loader: Any) -> None:
    coarse, fine = (
        bnsharp_cli.measure(model, loader, name="delta-lp", delta=1e-7, precision=precision)
        for precision in ("float32", "float64")
    )
    assert coarse.status == "below-resolution"
    assert fine.status != "below-resolution"


def test_the_same_call_gives_the_same_bits_and_another_seed_does_not(model: nn.Module, loader: Any) -> None:
    first, again, other = (bnsharp_cli.measure(model, loader, name="noise", seed=seed).value for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # by what curvlinops imports
def test_the_unscaled_eigenvalue_is_that_of_curvlinops(model: nn.Module, given: dict[str, Any]) -> None:
    """One batch, running statistics, the mean over samples."""
    curvlinops = pytest.importorskip("curvlinops")
    (batch, *_) = given["batches"]
    found = bnsharp_cli.measure(model, [batch], name="hessian", bn="running", precision="float64")
    model.double().eval()
    data = [(batch[0].double(), batch[1])]
    operator = curvlinops.HessianLinearOperator(model, nn.CrossEntropyLoss(), [*model.parameters()], data)
    dense = operator @ torch.eye(operator.shape[1], dtype=torch.float64)
    assert found.details["unscaled"]["value"] == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_does_not_matter_and_stays(training: bool, model: nn.Module, loader: Any) -> None:
    bnsharp_cli.measure(model.train(training), loader)
    assert all(one.training == training for one in model.modules())
    value = bnsharp_cli.measure(model.train(not training), loader).value
    assert value == bnsharp_cli.measure(model.train(training), loader).value
    assert int(model[1].num_batches_tracked) == 0


def test_frozen_weights_are_varied_unless_said_otherwise(model: nn.Module, loader: Any) -> None:
    everything = bnsharp_cli.measure(model, loader).value
    model[0].weight.requires_grad = False
    found = bnsharp_cli.measure(model, loader)
    assert found.value == pytest.approx(everything, rel=1e-3)
    assert "108 of 696 parameters are frozen" in found.notes[0]
    assert bnsharp_cli.measure(model, loader, parameters="trainable").value < everything


def test_without_norms_the_result_names_the_other_partition(loader: Any) -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    assert any("partition filter" in note for note in bnsharp_cli.measure(plain, loader).notes)
    assert bnsharp_cli.measure(plain, loader, partition="filter").notes == ()


def test_weight_decay_counts_where_the_loss_has_it(model: nn.Module, loader: Any) -> None:
    def penalised(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs, targets) + sum(one.square().sum() for one in model.parameters())

    plain, with_penalty = (
        bnsharp_cli.measure(model, loader, loss).value for loss in (nn.CrossEntropyLoss(), penalised)
    )
    assert with_penalty > plain


def test_autocast_around_the_call_changes_nothing(model: nn.Module, loader: Any) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        inside = bnsharp_cli.measure(model, loader).value
    assert inside == bnsharp_cli.measure(model, loader).value


def test_random_answers_are_repeated_or_refused(loader: Any) -> None:
    class AlwaysOn(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(inputs, 0.1, training=True)

    class Counting(nn.Module):
        calls = 0

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            Counting.calls += 1
            return inputs * Counting.calls

    body = [nn.Flatten(), nn.Linear(192, 4)]
    assert any("random" in note for note in bnsharp_cli.measure(nn.Sequential(AlwaysOn(), *body), loader).notes)
    with pytest.raises(BnsharpError):
        bnsharp_cli.measure(nn.Sequential(Counting(), *body), loader)


def test_a_pickled_module_is_refused_and_its_state_dict_is_not(model: nn.Module, tmp_path: Any) -> None:
    from bnsharp_cli.errors import CheckpointRefusedError
    from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint

    torch.save(model, tmp_path / "module.pt")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(CheckpointRefusedError):
        load_checkpoint(tmp_path / "module.pt")
    assert {*load_checkpoint(tmp_path / "weights.pt").state_dict} >= {"0.weight"}


def test_sam_updates_running_statistics_once_a_step(model: nn.Module, given: dict[str, Any]) -> None:
    inputs, targets = given["batches"][0]
    bnsharp_cli.Sam(model, lr=0.1).step(lambda: nn.functional.cross_entropy(model(inputs), targets))
    assert int(model[1].num_batches_tracked) == 1
