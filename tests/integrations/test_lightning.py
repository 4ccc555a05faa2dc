"""The callback: what it logs is what ``measure`` says, and a run with it ends with the same bits as one without."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
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
from bnsharp_cli import SharpnessMonitor
from bnsharp_cli.errors import UsageError
from bnsharp_cli.integrations.lightning import SharpnessCallback

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
        callback: SharpnessCallback | None,
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
            return [int(row["epoch"]) for row in csv.DictReader(stream) if row["sharpness/bn"]]

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


@pytest.mark.parametrize(("source", "validates"), [("list", True), ("loader", False), ("generator", True)])
def test_a_run_ends_with_the_same_bits_with_and_without(tmp_path: Path, source: str, validates: bool) -> None:
    without = Run(tmp_path / "without", None, validates=validates)
    monitor = SharpnessMonitor(SOURCES[source](), every=1, delta=1e-2, restarts=1)
    callback = SharpnessCallback(monitor)
    run = Run(tmp_path / "with", callback, validates=validates)
    assert len(run.module.gradients) == (0 if validates else 3 * 6)  # Lightning clears them before it validates
    assert all(torch.equal(*pair) for pair in zip(without.tensors(), run.tensors(), strict=True))
    assert run.module.modes == without.module.modes == [True] * 9
    assert run.logged.get("validation") == without.logged.get("validation")
    assert len(monitor.records) == 4
    assert "sharpness/bn" in run.logged
    assert "sharpness/bn" not in without.logged


def test_what_is_logged_is_what_measure_says(tmp_path: Path) -> None:
    batches = SOURCES["list"]()
    monitor = SharpnessMonitor(batches, every=1, measures=["bn", "loss"], delta=1e-2)
    run = Run(tmp_path, SharpnessCallback(monitor))
    expected = bnsharp_cli.measure(run.module.model, batches, measure=["bn", "loss"], delta=1e-2)
    for name in ("bn", "loss"):
        assert run.logged[f"sharpness/{name}"] == pytest.approx(expected[name].value, rel=1e-6)
        assert run.logged[f"sharpness/{name}_error"] == pytest.approx(expected[name].largest_error[1], rel=1e-3)
    assert run.epochs() == [0, 0, 1, 2]  # before training, and after each epoch
    assert [record["epoch"] for record in monitor.records] == [0, 1, 2, 3]
    assert [record["step"] for record in monitor.records] == [0, 3, 6, 9]


@pytest.mark.slow(
    reason="trains under Lightning once more",
    quick="tests/integrations/test_lightning.py::test_what_is_logged_is_what_measure_says",
)
def test_every_counts_epochs_of_a_submodule(tmp_path: Path) -> None:
    monitor = SharpnessMonitor(shuffled(), nn.CrossEntropyLoss(label_smoothing=0.1), every=2, bn="running")
    run = Run(tmp_path, SharpnessCallback(monitor, network="model"))
    assert run.epochs() == [0, 1]
    assert [record["epoch"] for record in monitor.records] == [0, 2]


def test_what_is_no_monitor_and_no_name_is_refused() -> None:
    with pytest.raises(UsageError, match="monitor: expected a SharpnessMonitor, found a list"):
        SharpnessCallback([])
    with pytest.raises(UsageError, match="network: expected the name of a submodule, found an int"):
        SharpnessCallback(SharpnessMonitor(shuffled()), 3)


@pytest.mark.filterwarnings("ignore:.*(fork|semaphore|resource)")
def test_all_processes_know_the_figures_of_the_first_one(tmp_path: Path) -> None:
    """The others wait for it, and a decision that they take by a figure is the same everywhere."""
    finished = subprocess.run(
        [sys.executable, "-c", _TWO_PROCESSES, str(tmp_path)], capture_output=True, text=True, check=False, timeout=200
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    figures = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert figures[0]["figures"] == figures[1]["figures"]
    assert figures[0]["figures"]["sharpness/bn"] > 0
    assert [figures[rank]["records"] for rank in (0, 1)] == [4, 0]


_TWO_PROCESSES = """
import json, sys
from pathlib import Path
import lightning.pytorch as pl
from torch.utils.data import DataLoader
from bnsharp_cli import SharpnessMonitor
from bnsharp_cli.integrations.lightning import SharpnessCallback
from tests.integrations.test_lightning import Classifier, examples, shuffled

class Written(pl.Callback):
    def on_fit_end(self, trainer, module):
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        text = json.dumps({"figures": figures, "records": len(monitor.records)})
        (Path(sys.argv[1]) / f"{trainer.global_rank}.json").write_text(text)

if __name__ == "__main__":
    monitor = SharpnessMonitor(shuffled(), every=1, delta=1e-2)
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    callbacks = [SharpnessCallback(monitor, network="model"), Written()]
    trainer = pl.Trainer(max_epochs=3, accelerator="cpu", devices=2, strategy="ddp_fork", callbacks=callbacks, **off)
    trainer.fit(Classifier(), DataLoader(examples(), 16, shuffle=True))
"""


@pytest.mark.slow(
    reason="imports the same trainer by its other name",
    quick="tests/integrations/test_lightning.py::test_what_is_logged_is_what_measure_says",
)
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
    monitor = SharpnessMonitor(loader, every=1)
    silent = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary", "barebones"), False
    )
    trainer = module.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[SharpnessCallback(monitor, network="model")], **silent
    )
    trainer.fit(network, loader)
    expected = bnsharp_cli.measure(network.model, loader)
    assert float(trainer.callback_metrics["sharpness/bn"]) == pytest.approx(expected.value, rel=1e-6)
