"""The callback: what it logs is what ``measure`` says, and a run with it ends with the same bits as one without."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import bnsharp_cli
from bnsharp_cli.errors import UsageError
from bnsharp_cli.integrations.lightning import BNSharpnessCallback

pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore:.*num_workers", "ignore:.*LeafSpec")


class Classifier(pl.LightningModule):
    """A network with batch norm and dropout, whose training draws random numbers."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        layers = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
        self.model = nn.Sequential(*layers)
        self.slope = slope
        self.modes: list[bool] = []
        self.gradients: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        return self.slope * self.model(inputs)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        self.modes.append(self.training and self.model[1].training)
        return functional.cross_entropy(self(batch[0]), batch[1])

    def on_train_epoch_end(self) -> None:
        """After the callbacks'."""
        self.gradients += [p.grad.clone() for p in self.parameters() if p.grad is not None]

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        self.log("validation", functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.05)


class Run:
    """A training run of three epochs, and all that it leaves behind."""

    def __init__(
        self,
        folder: Path,
        callback: BNSharpnessCallback | None,
        module: Classifier | None = None,
        validates: bool = True,
    ) -> None:
        self.examples = examples()
        with isolate_rng():
            torch.manual_seed(1)
            self.module = module or Classifier()
            self.loader = DataLoader(self.examples, 32, shuffle=True)
            trainer = pl.Trainer(
                max_epochs=3,
                accelerator="cpu",
                logger=CSVLogger(folder),
                log_every_n_steps=1,
                callbacks=[callback] if callback else [],
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(self.module, self.loader, DataLoader(self.examples, 96) if validates else None)
            self.random = torch.rand(3)
        self.logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.optimizer = trainer.optimizers[0].state_dict()
        self.log = Path(trainer.logger.log_dir) / "metrics.csv"

    def epochs(self) -> list[int]:
        """Those after which a sharpness was logged."""
        with self.log.open() as stream:
            return [int(row["epoch"]) for row in csv.DictReader(stream) if row["bn_sharpness"]]

    def tensors(self) -> Iterator[Tensor]:
        yield from self.module.state_dict().values()
        for entry in self.optimizer["state"].values():
            yield from entry.values()
        yield from self.module.gradients
        yield self.random


def examples() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(96, 6, generator=generator), torch.randint(3, (96,), generator=generator))


def shuffled(generator: torch.Generator | None = None) -> DataLoader[Any]:
    return DataLoader(examples(), 32, shuffle=True, generator=generator)


SOURCES: dict[str, Callable[[], Any]] = {
    "list": lambda: [examples()[:48], examples()[48:]],
    "loader": shuffled,
    "generator": lambda: shuffled(torch.Generator().manual_seed(3)),
}


@pytest.mark.parametrize("validates", [True, False])
@pytest.mark.parametrize("source", SOURCES)
def test_a_run_ends_with_the_same_bits_with_and_without(tmp_path: Path, source: str, validates: bool) -> None:
    without = Run(tmp_path / "without", None, validates=validates)
    callback = BNSharpnessCallback(SOURCES[source](), delta=1e-2, restarts=1)
    run = Run(tmp_path / "with", callback, validates=validates)
    assert len(run.module.gradients) == (0 if validates else 3 * 6)  # Lightning clears them before it validates
    assert all(torch.equal(*pair) for pair in zip(without.tensors(), run.tensors(), strict=True))
    assert run.module.modes == without.module.modes == [True] * 9
    assert run.logged.get("validation") == without.logged.get("validation")
    assert "bn_sharpness" in run.logged
    assert "bn_sharpness" not in without.logged


def test_the_loaders_own_generator_is_put_back() -> None:
    generator = torch.Generator().manual_seed(3)
    callback = BNSharpnessCallback(shuffled(generator))
    callback.on_fit_start(pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), Classifier())
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(3).get_state())


def test_what_is_logged_is_what_measure_says(tmp_path: Path) -> None:
    batches = SOURCES["list"]()
    run = Run(tmp_path, BNSharpnessCallback(batches, delta=1e-2))
    expected = bnsharp_cli.measure(run.module.model, batches, delta=1e-2)
    assert run.logged["bn_sharpness"] == pytest.approx(expected.value, rel=1e-6)
    for kind in ("quadrature", "rounding", "sampling"):
        assert run.logged[f"bn_sharpness_{kind}"] == pytest.approx(getattr(expected.uncertainty, kind), rel=1e-3)
    assert run.epochs() == [0, 1, 2]


def test_every_n_epochs_of_a_submodule_with_a_limit_and_a_criterion(tmp_path: Path) -> None:
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    callback = BNSharpnessCallback(
        shuffled(), criterion, network="model", every_n_epochs=2, limit_batches=2, bn="running"
    )
    run = Run(tmp_path, callback)
    assert run.epochs() == [1]
    assert len(callback._batches) == 2


def test_options_that_cannot_be_meant_are_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        BNSharpnessCallback([], every_n_epochs=0)
    with pytest.raises(UsageError, match="There is no option delt"):
        BNSharpnessCallback([], delt=1)
    with pytest.raises(UsageError, match="delta: expected"):
        BNSharpnessCallback([], delta=-1)
    module = Classifier()
    with pytest.raises(UsageError, match="at least one"):
        Run(tmp_path, BNSharpnessCallback([]), module)
    with pytest.raises(UsageError, match=r"network: expected a submodule: .*, found 'nothing'"):
        Run(tmp_path, BNSharpnessCallback([], network="nothing"), module)
    assert module.modes == []


def test_the_trainer_of_pytorch_lightning_calls_it_too() -> None:
    module = pytest.importorskip("pytorch_lightning", reason="comes with lightning")

    class Small(module.LightningModule):  # type: ignore[misc,name-defined]  # known only here
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            return functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    torch.manual_seed(0)
    examples = TensorDataset(torch.randn(32, 6), torch.randint(0, 3, (32,)))
    loader, network = DataLoader(examples, batch_size=8), Small()
    silent = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary", "barebones"), False
    )
    trainer = module.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[BNSharpnessCallback(loader, network="model")], **silent
    )
    trainer.fit(network, loader)
    expected = bnsharp_cli.measure(network.model, loader)
    assert float(trainer.callback_metrics["bn_sharpness"]) == pytest.approx(expected.value, rel=1e-6)


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("every_n_epochs", ("a", None, 1.5, 0)),
        ("limit_batches", ("x", 0, 2.5)),
        ("bn", ("x", None)),
        ("network", (3, None)),
        ("seed", ("a", None)),
        ("criterion", (3, None)),
        ("batches", (3, None, torch.zeros(3, 2))),
        ("delta", ("a", -1)),
    ],
)
def test_bad_arguments_are_refused_when_the_callback_is_made(argument: str, wrong: tuple[Any, ...]) -> None:
    for value in wrong:
        with pytest.raises(UsageError) as refused:
            BNSharpnessCallback(**{"batches": [], argument: value})
        assert refused.value.argument == argument
