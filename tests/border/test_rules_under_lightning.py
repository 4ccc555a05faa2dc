"""Rules under Lightning: its own optimisation is refused with the lines that work, and these work as printed."""

from __future__ import annotations

import re
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import bnsharp_cli
from bnsharp_cli.errors import UsageError
from bnsharp_cli.training.rules import TrainingRule
from tests.documents import ROOT, Document

pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore:.*num_workers", "ignore:.*LeafSpec")

generator = torch.Generator().manual_seed(0)
X, Y = torch.randn(24, 6, generator=generator), torch.randint(3, (24,), generator=generator)
(LINES,) = (code for code in Document(ROOT / "docs" / "training.md").fences("python") if "LightningModule" in code)


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))


def fit(module: Any, trainer: Any = pl.Trainer, epochs: int = 2, ckpt_path: Any = None, **options: Any) -> Any:
    silent = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    made = trainer(max_epochs=epochs, accelerator="cpu", **{**silent, **options})
    torch.manual_seed(2)
    made.fit(module, DataLoader(TensorDataset(X, Y), 8), ckpt_path=ckpt_path, weights_only=True)
    return made


def documented() -> Any:
    """The class of docs/training.md, with a network."""
    given: dict[str, Any] = {"torch": torch}
    exec(compile(LINES, "training.md", "exec"), given)
    return given["Classifier"](network())


class Automatic(pl.LightningModule):
    """What a user writes who knows nothing of closures."""

    def __init__(self, kind: type[TrainingRule], whole: bool) -> None:
        super().__init__()
        self.model, self.kind, self.whole = network(), kind, whole

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        return functional.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.kind(self if self.whole else self.parameters(), lr=0.1)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("kind", [bnsharp_cli.Sam, bnsharp_cli.Asam])
def test_its_own_optimisation_is_refused_with_the_lines_that_work(kind: type[TrainingRule], whole: bool) -> None:
    module = Automatic(kind, whole)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    with pytest.raises(UsageError, match="The closure called backward") as refused:
        fit(module)
    assert refused.value.argument == "closure"
    assert all(torch.equal(*pair) for pair in zip(module.parameters(), before, strict=True))
    said = re.findall(r"self\.\w+(?: = \w+|\(\)\.step\()", refused.value.remedy)
    assert said == ["self.automatic_optimization = False", "self.optimizers().step("]
    assert all(statement in LINES for statement in said)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_documented_lines_train_as_a_plain_loop(precision: str) -> None:
    module, reference = documented(), network()
    trainer = fit(module, precision=precision)
    rule = bnsharp_cli.Sam(reference, lr=0.1, momentum=0.9)
    torch.manual_seed(2)

    def closure(inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision != "32-true"):
            return functional.cross_entropy(reference(inputs), targets)

    for _ in range(2):
        for batch in DataLoader(TensorDataset(X, Y), 8):
            rule.step(lambda batch=batch: closure(*batch))
    assert trainer.global_step == 6
    assert rule.steps == trainer.optimizers[0].steps == 6
    for mine, theirs in zip(module.model.state_dict().values(), reference.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


class Seeded(pl.Callback):
    """Lets each batch draw the same numbers in every run."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(trainer.global_step)


def test_a_run_goes_on_from_lightnings_checkpoint(tmp_path: Any) -> None:
    whole, part, rest = documented(), documented(), documented()
    fit(whole, epochs=4, callbacks=[Seeded()])
    fit(part, callbacks=[Seeded()]).save_checkpoint(tmp_path / "run.ckpt")
    resumed = fit(rest, epochs=4, callbacks=[Seeded()], ckpt_path=tmp_path / "run.ckpt")
    assert resumed.optimizers[0].steps == 12
    for mine, theirs in zip(rest.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_wrapper_of_lightning_has_what_a_rule_has() -> None:
    seen: list[Any] = []

    class Watching(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            wrapped = pl_module.optimizers()
            wrapped.end_epoch()
            seen.append((wrapped.steps, wrapped.epochs, len(wrapped.param_groups), type(wrapped.state)))

    module = documented()
    fit(module, callbacks=[Watching()])
    assert [one[:3] for one in seen] == [(3, 1, 1), (6, 2, 1)]


def test_the_trainer_of_pytorch_lightning_is_known_too() -> None:
    other = pytest.importorskip("pytorch_lightning", reason="comes with lightning")

    class Small(other.LightningModule):  # type: ignore[misc,name-defined]  # known only here
        def __init__(self) -> None:
            super().__init__()
            self.model = network()

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            return functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return bnsharp_cli.Sam(self.parameters(), lr=0.1)

    with pytest.raises(UsageError, match="The closure called backward") as refused:
        fit(Small(), other.Trainer)
    assert refused.value.remedy.startswith("With Lightning, set self.automatic_optimization = False")
