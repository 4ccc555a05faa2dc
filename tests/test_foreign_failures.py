"""What a user's own code raises is told as one of our errors, with the original as its cause."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bnsharp_cli
from bnsharp_cli.errors import BnsharpError, NotMeasurableError, UsageError
from tests.api_cases import Model, X, Y
from tests.cli.helpers import bnsharp
from tests.documents import ROOT

FAILURES = [RuntimeError("no good"), KeyError("no good"), ZeroDivisionError("no good"), SystemExit(9)]
SAMPLE = ROOT / "sample_checkpoints" / "digits-small-batch.pt"
FUNCTIONS = ["measure", "rescale_test", "find_blocks"]
UNSEEN = r"^The loss changes with \S+ and \d+ more, but autograd sees nothing of it: a part of the network runs without"


class Detaching(Model):
    """A network whose answer has no graph."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x).detach()


class ChangingInPlace(Model):
    """A network that changes what its backward pass needs."""

    def forward(self, x: Tensor) -> Any:
        answer = super().forward(x).sigmoid()
        squared = answer * answer
        answer.add_(1)
        return squared


class NotCopied(nn.CrossEntropyLoss):
    """A criterion that nobody can copy."""

    def __deepcopy__(self, memo: object) -> NotCopied:
        raise ValueError("only one")


class Equal:
    """Something that does not compare."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")


def raising(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize("error", FAILURES, ids=repr)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_loader_that_fails_is_named_with_its_own_reason(function: str, error: BaseException) -> None:
    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        yield X, Y
        raise error

    with pytest.raises(UsageError, match=r"^batches: reading batch 2 failed: \w+: .+ Mend the loader") as caught:
        getattr(bnsharp_cli, function)(Model(), batches())
    assert type(error).__name__ in caught.value.found
    assert caught.value.argument == "batches"
    assert caught.value.__cause__ is error


def test_an_interrupted_loader_is_interrupted() -> None:
    with pytest.raises(KeyboardInterrupt):
        bnsharp_cli.measure(Model(), (raising(KeyboardInterrupt()) for _ in range(1)))


@pytest.mark.parametrize("error", FAILURES, ids=repr)
def test_a_network_that_fails_is_told_with_its_own_reason(error: BaseException) -> None:
    with pytest.raises(NotMeasurableError, match=r"does not accept a batch of .*(no good|SystemExit: 9)") as caught:
        bnsharp_cli.measure(Model(lambda _: raising(error)), [(X, Y)])
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", FAILURES, ids=repr)
def test_a_criterion_that_fails_is_told_with_its_own_reason(error: BaseException) -> None:
    with pytest.raises(NotMeasurableError, match=r"criterion .*(no good|SystemExit: 9)") as caught:
        bnsharp_cli.measure(Model(), [(X, Y)], lambda *_: raising(error))
    assert caught.value.__cause__ is error


def test_a_criterion_that_cannot_be_copied_is_named() -> None:
    with pytest.raises(
        UsageError, match=r"^The criterion 'NotCopied' cannot be copied: ValueError: only one"
    ) as caught:
        bnsharp_cli.measure(Model(), [(X, Y)], NotCopied())
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("name", ["bn", "delta-linf", "keskar"])
def test_a_network_that_detaches_its_answer_is_refused(name: str) -> None:
    with pytest.raises(NotMeasurableError, match=UNSEEN):
        bnsharp_cli.measure(Detaching(), [(X, Y)], name=name)


def test_a_network_that_cannot_be_differentiated_is_refused() -> None:
    with pytest.raises(NotMeasurableError, match=r"^The network cannot be differentiated: one of the variables"):
        bnsharp_cli.measure(ChangingInPlace(), [(X, Y)])


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("delta", [1e-17, 1e-300, 5e-324])
def test_a_radius_at_which_nothing_changes_has_no_verdict(delta: float, precision: str) -> None:
    with pytest.raises(NotMeasurableError, match=r"^BN-Sharpness 0 is not above its rounding floor"):
        bnsharp_cli.rescale_test(Model(), [(X, Y)], delta=delta, precision=precision)


@pytest.mark.parametrize("name", ["bn", "delta-lp", "delta-linf", "keskar"])
def test_the_smallest_radius_has_no_value(name: str) -> None:
    found = bnsharp_cli.measure(Model(), [(X, Y)], name=name, delta=5e-324)
    assert found.value == 0


@pytest.mark.parametrize("wrong", [np.array(["bn", "x"]), torch.ones(2), Equal(), 10**400], ids=lambda v: str(type(v)))
@pytest.mark.parametrize("argument", ["name", "bn", "delta", "power", "search", "partition", "precision", "rtol"])
def test_values_that_do_not_compare_are_refused_by_name(argument: str, wrong: Any) -> None:
    with pytest.raises(UsageError) as caught:
        bnsharp_cli.measure(Model(), [(X, Y)], **{argument: wrong})
    assert caught.value.argument == argument


def test_a_tolerance_that_no_float_holds_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        bnsharp_cli.rescale_test(Model(), [(X, Y)], tolerance=10**400)
    assert caught.value.argument == "tolerance"


def test_the_command_has_no_verdict_on_a_radius_at_which_nothing_changes(tmp_path: Path) -> None:
    done = bnsharp("rescale-test", "--delta", "1e-12", "--precision", "float32", folder=tmp_path, expect=4)
    assert "BN-Sharpness 0 is not above its rounding floor" in done.stderr


def test_a_criterion_that_leaves_does_not_end_the_command(tmp_path: Path) -> None:
    (tmp_path / "losses.py").write_text("def leaves(outputs, targets):\n    raise SystemExit(9)\n")
    done = bnsharp("measure", SAMPLE, "--loss", "losses.py:leaves", folder=tmp_path, expect=4)
    assert "The criterion 'losses.py:leaves' failed: SystemExit: 9" in done.stderr


def test_our_own_errors_pass_unchanged() -> None:
    refused = BnsharpError("Not today.", "Come again.")
    with pytest.raises(BnsharpError) as caught:
        bnsharp_cli.measure(Model(lambda _: raising(refused)), [(X, Y)])
    assert caught.value is refused


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_refused_batch_is_named_by_its_own_shape_and_as_the_models(function: str) -> None:
    with pytest.raises(NotMeasurableError, match=r"^The network does not accept a batch of \(48, 3\): ") as refused:
        getattr(bnsharp_cli, function)(Model(), [(X[:, :3], Y)])
    assert refused.value.argument == "model"


@pytest.mark.parametrize(
    ("criterion", "targets", "advice"),
    [
        (nn.CrossEntropyLoss(), Y + 5, "Check that the labels belong"),
        (nn.CrossEntropyLoss(weight=torch.ones(2)), Y, "Pass a function"),
        (lambda: 0, Y, "Pass a function"),
        (nn.CrossEntropyLoss, Y, "Pass an instance: CrossEntropyLoss()."),
    ],
)
def test_labels_are_blamed_only_where_they_are_to_blame(criterion: Any, targets: Tensor, advice: str) -> None:
    with pytest.raises(BnsharpError) as refused:
        bnsharp_cli.measure(Model(), [(X, targets)], criterion)
    assert refused.value.remedy.startswith(advice)
    assert refused.value.argument == "criterion"


def test_a_loss_that_is_not_finite_is_the_models() -> None:
    told = r"^The loss of batch 1 is \w+, since the network's outputs are not finite\."
    with pytest.raises(NotMeasurableError, match=told) as refused:
        bnsharp_cli.measure(Model(lambda y: y / 0), [(X, Y)])
    assert refused.value.argument == "model"
