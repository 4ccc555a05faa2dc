"""``measure all`` of every kind of task: what exists for it is measured, and what does not has a reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli import Measurements
from bnsharp_cli.measurement.measures.registry import MEASURES

CLASSICAL = {"delta-lp", "delta-linf", "keskar"}
OF_CLASSES = {"margin", "entropy", "relative-flatness"}
SIMPLE = {"loss", "gradient-norm", "weight-norm", "random", "bn"}
CLASSES = 3


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(*shape: int) -> Tensor:
    return torch.randint(CLASSES, shape, generator=torch.Generator().manual_seed(2))


def mlp(outputs: int = CLASSES) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, outputs))


class Segmenter(nn.Module):
    """What torchvision's segmentation networks return."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.norm, self.head = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Conv2d(5, CLASSES, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"out": self.head(self.norm(self.body(images)).relu())}


class Language(nn.Module):
    """The next token of each, with the classes last."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.mix, self.norm = nn.Embedding(11, 6), nn.Linear(6, 6), nn.LayerNorm(6)
        self.head = nn.Linear(6, 11, bias=False)
        if tied:
            self.head.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.head(self.norm(self.mix(self.words(tokens)).cumsum(1)))
        return scores


def next_token(scores: Tensor, tokens: Tensor) -> Tensor:
    return functional.cross_entropy(scores.flatten(0, 1), tokens.flatten())


def sentences() -> list[tuple[Tensor, Tensor]]:
    texts = torch.randint(11, (12, 7), generator=torch.Generator().manual_seed(3))
    return [(texts[:6, :-1], texts[:6, 1:]), (texts[6:, :-1], texts[6:, 1:])]


Case = tuple[Callable[[], nn.Module], list[Any], Callable[[Any, Any], Any], set[str]]
CLASSIFIED = [(drawn(12, 4), labels(12)), (drawn(12, 4, seed=4), labels(12))]
CASES: dict[str, Case] = {
    "classes": (mlp, CLASSIFIED, functional.cross_entropy, set()),
    "numbers": (mlp, [(drawn(12, 4), drawn(12, CLASSES))], nn.MSELoss(), OF_CLASSES),
    "one number": (lambda: mlp(1), [(drawn(12, 4), drawn(12, 1))], nn.HuberLoss(), OF_CLASSES),
    "two classes by one score": (
        lambda: nn.Sequential(mlp(1), nn.Flatten(0)),
        [(drawn(12, 4), (labels(12) > 0).float())],
        nn.BCEWithLogitsLoss(),
        OF_CLASSES,
    ),
    "several labels": (mlp, [(drawn(12, 4), (drawn(12, CLASSES) > 0).float())], nn.BCEWithLogitsLoss(), OF_CLASSES),
    "segmentation": (Segmenter, [(drawn(4, 3, 6, 6), labels(4, 6, 6))], nn.CrossEntropyLoss(), set()),
    "text": (lambda: Language(tied=False), sentences(), next_token, set()),
    "text with shared words": (lambda: Language(tied=True), sentences(), next_token, {"relative-flatness"}),
    "a loss below -1": (
        mlp,
        CLASSIFIED,
        lambda z, y: functional.cross_entropy(z, y) - 7,
        CLASSICAL | {"entropy", "relative-flatness"},
    ),
    "no labels": (mlp, [(drawn(12, 4), drawn(12))], lambda z, _: (z - 1).square().mean(), OF_CLASSES),
    "a margin loss": (mlp, CLASSIFIED, nn.MultiMarginLoss(), {"entropy", "relative-flatness"}),
    "log-probabilities": (
        lambda: nn.Sequential(mlp(), nn.LogSoftmax(1)),
        CLASSIFIED,
        nn.NLLLoss(),
        {"relative-flatness"},
    ),
}


def everything(case: str, **options: Any) -> Measurements:
    make, data, criterion, _ = CASES[case]
    return bnsharp_cli.measure(make(), data, criterion, measure="all", ball_samples=2, **options)


@pytest.mark.parametrize("case", CASES)
def test_each_kind_of_task_has_its_measures(case: str) -> None:
    found = everything(case)
    assert {*found.profiles, *found.skipped} == {*MEASURES}
    assert {*found.skipped} & (CLASSICAL | OF_CLASSES | SIMPLE) == CASES[case][-1]
    assert all(math.isfinite(one.value) for one in found)
    assert all(len(reason) > 20 for reason in found.skipped.values())
    assert max(map(len, repr(found).splitlines())) <= 80


@pytest.mark.parametrize("options", [{"power": math.inf}, {"parameters": "*.weight"}, {"partition": "filter"}])
@pytest.mark.parametrize("case", ["classes", "numbers"])
def test_whatever_the_options_are(case: str, options: dict[str, Any]) -> None:
    found = everything(case, **options)
    without = {"delta-lp"} if "power" in options else set()
    assert {*found.skipped} & (CLASSICAL | OF_CLASSES | SIMPLE) == CASES[case][-1] | without
    plain = everything(case)
    for name in {"loss", "margin", "entropy"} - {*found.skipped}:
        assert found[name].value == plain[name].value  # of the function alone


def test_parameters_without_the_head_leave_its_flatness_out() -> None:
    found = everything("classes", parameters="0.*")
    assert {*found.skipped} & OF_CLASSES == {"relative-flatness"}
    assert "not among the measured" in found.skipped["relative-flatness"]
