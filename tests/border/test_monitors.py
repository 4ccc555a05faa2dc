"""Monitors of a training run: what cannot work is said before an epoch is spent, and nothing of theirs ends a run."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from bnsharp_cli import SharpnessMonitor
from bnsharp_cli.integrations import moment
from bnsharp_cli.integrations.lightning import SharpnessCallback
from tests.cli.helpers import bnsharp

pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore:.*num_workers", "ignore:.*LeafSpec")
EPOCHS, STEPS = 4, 3


class Keeping(nn.Sequential):
    """Keeps a tensor with the graph behind it, as networks with cached activations do."""

    def forward(self, inputs: Tensor) -> Tensor:
        self.cache = {"last": super().forward(inputs)}
        return self.cache["last"]


class Classifier(pl.LightningModule):
    def __init__(self, kind: type[nn.Sequential] = nn.Sequential) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.model = kind(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
        self.steps = 0
        self.later: Callable[[Classifier], None] = lambda _: None

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        self.steps += 1
        return functional.cross_entropy(self.model(batch[0]), batch[1])

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 2:
            self.later(self)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.05)


class Gone(Logger):
    """A logger whose server is gone."""

    name = version = "gone"

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        raise ConnectionError("no route to the server")

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass


def examples() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(24, 6, generator=generator), torch.randint(3, (24,), generator=generator))


def fit(module: Classifier, *callbacks: SharpnessCallback, logger: Any = False) -> pl.Trainer:
    trainer = pl.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[*callbacks],
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    torch.manual_seed(2)
    trainer.fit(module, DataLoader(examples(), 8, shuffle=True))
    return trainer


def callback(
    criterion: Any = functional.cross_entropy, batches: Any = None, network: str = "model", **options: Any
) -> SharpnessCallback:
    source = DataLoader(examples(), 8) if batches is None else batches
    return SharpnessCallback(SharpnessMonitor(source, criterion, **{"every": 1, **options}), network)


def told(caught: pytest.WarningsRecorder) -> list[str]:
    return [
        str(one.message)
        for one in caught
        if "was not measured" in str(one.message) or "was not logged" in str(one.message)
    ]


BROKEN: dict[str, tuple[Callable[[], SharpnessCallback], str]] = {
    "a loss for each example": (lambda: callback(nn.CrossEntropyLoss(reduction="none")), "criterion"),
    "a loss without a graph": (
        lambda: callback(lambda o, t: functional.cross_entropy(o, t).detach()),
        "not differentiable",
    ),
    "a loss that raises": (lambda: callback(lambda o, t: {}["loss"]), "KeyError: 'loss'"),
    "another submodule": (lambda: callback(network="net"), "network: expected a submodule: model, found 'net'"),
    "a submodule of another input": (lambda: callback(network="model.4"), "does not accept a batch of (8, 6)"),
    "another key": (lambda: callback(output="logits"), "output: "),
    "infinite data": (lambda: callback(batches=[(torch.full((8, 6), float("inf")), torch.zeros(8).long())]), "finite"),
    "labels that are none": (lambda: callback(batches=[(torch.zeros(8, 6), torch.full((8,), 7))]), "targets"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_cannot_work_is_told_once_before_an_epoch_is_spent(fault: str) -> None:
    made, words = BROKEN[fault]
    module, warned_at = Classifier(), []

    class Steps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warned_at.append((module.steps, record.getMessage()))

    logging.captureWarnings(True)
    handler = Steps()
    logging.getLogger("py.warnings").addHandler(handler)
    try:
        warnings.simplefilter("always")
        fit(module, made())
    finally:
        logging.getLogger("py.warnings").removeHandler(handler)
        logging.captureWarnings(False)
    ((steps, message),) = [(steps, text) for steps, text in warned_at if "Training goes on" in text]
    assert steps == 0
    assert words in message
    assert module.steps == EPOCHS * STEPS


@pytest.mark.parametrize(
    "error", [MemoryError(), KeyError("width"), AssertionError()], ids=lambda error: type(error).__name__
)
def test_nothing_that_fails_later_ends_the_run_and_one_warning_says_why(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    calls: list[int] = []

    def failing_later(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > 2:  # before training, and after the first epoch
            raise error
        return find_partitions(*args, **options)

    find_partitions = moment.find_partitions
    module, without, made = Classifier(), Classifier(), callback()
    fit(without)
    monkeypatch.setattr(moment, "find_partitions", failing_later)
    warnings.simplefilter("always")
    trainer = fit(module, made)
    assert module.steps == EPOCHS * STEPS
    assert len(told(recwarn)) == 1
    assert ["bn" in record for record in made.monitor.records] == [True, True, False, False, False]
    assert trainer.callback_metrics["sharpness/bn"] > 0
    for mine, theirs in zip(module.state_dict().values(), without.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    assert module.training


def replace(module: Classifier) -> None:
    module.model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3, bias=False)).requires_grad_(False)
    module.model.append(nn.Linear(3, 3))


def close(module: Classifier) -> None:
    module.trainer.loggers = [Gone()]


@pytest.mark.parametrize("change", [replace, close])
def test_a_network_or_a_logger_that_changes_ends_no_run(
    change: Callable[[Classifier], None], recwarn: pytest.WarningsRecorder
) -> None:
    module = Classifier()
    module.later = change
    warnings.simplefilter("always")
    fit(module, callback())
    assert module.steps == EPOCHS * STEPS
    assert len(told(recwarn)) == (1 if change is close else 0)


def test_a_logger_that_is_gone_from_the_beginning_ends_no_run(recwarn: pytest.WarningsRecorder) -> None:
    module = Classifier()
    warnings.simplefilter("always")
    trainer = fit(module, callback(), logger=Gone())
    assert module.steps == EPOCHS * STEPS
    (message,) = told(recwarn)
    assert "ConnectionError: no route to the server" in message
    assert "sharpness/bn" in trainer.callback_metrics


def test_a_network_that_keeps_its_last_activation_ends_no_run(recwarn: pytest.WarningsRecorder) -> None:
    module = Classifier(Keeping)
    warnings.simplefilter("always")
    fit(module, callback())
    assert module.steps == EPOCHS * STEPS
    assert len(told(recwarn)) <= 1


def test_a_second_fit_measures_the_same_batches() -> None:
    made = callback(batches=iter([examples()[:8], examples()[8:16]]))
    first, second = fit(Classifier(), made), fit(Classifier(), made)
    assert first.callback_metrics["sharpness/bn"] == second.callback_metrics["sharpness/bn"]
    assert len(made.monitor.records) == 2 * (EPOCHS + 1)


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in for Weights & Biases whose server goes away."""
    sent: list[int] = []

    def unplugged(*args: Any, **keywords: Any) -> None:
        sent.append(1)
        raise ConnectionError("no route")

    wandb = ModuleType("wandb")
    wandb.init = lambda **_: SimpleNamespace(id="w1", log=unplugged, finish=unplugged)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    return SimpleNamespace(sent=sent)


TRAIN = ("train", "--batch-size", 718, "--output", "run.pt", "--epochs", 3)


def test_a_tracker_whose_server_is_gone_ends_no_run_and_is_told_of_once(
    tmp_path: Path, tracker: SimpleNamespace
) -> None:
    finished = bnsharp(*TRAIN, "--track", "wandb:sharp", folder=tmp_path)
    assert finished.stderr.count("--track:") == 1
    assert "--track: epoch 1 was not sent: ConnectionError: no route; later failures are not" in finished.stderr
    assert len(tracker.sent) == 4  # three epochs and the end
    assert (tmp_path / "run.pt").exists()
    assert "3" in (tmp_path / "run.metrics.jsonl").read_text()


def test_a_measurement_along_the_way_that_breaks_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bnsharp_cli import api

    def broken(*args: Any, **options: Any) -> None:
        raise KeyError("width")

    monkeypatch.setattr(api, "measure", broken)
    finished = bnsharp(*TRAIN, "--measure-every", 2, folder=tmp_path)
    assert "BN-Sharpness was not measured: KeyError: 'width'" in finished.stderr
    assert (tmp_path / "run.pt").exists()
