"""The callback for Hugging Face's Trainer, in runs of a small network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

import bnsharp_cli
from bnsharp_cli.errors import UsageError

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate", reason="the Trainer needs it")

from bnsharp_cli.integrations.huggingface import SharpnessTrainerCallback  # noqa: E402 - it needs transformers

pytestmark = pytest.mark.filterwarnings(
    "ignore::Warning:transformers", "ignore::Warning:accelerate", "ignore:.*pin_mem"
)


class Examples(Dataset[Any]):
    """Pictures with labels, as the Trainer takes them."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.pixels = torch.randn(48, 3, 8, 8, generator=generator)
        self.labels = torch.randint(3, (48,), generator=generator)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return {"pixel_values": self.pixels[number], "labels": self.labels[number]}


def network() -> nn.Module:
    torch.manual_seed(1)
    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "num_labels": 3}
    return transformers.ResNetForImageClassification(transformers.ResNetConfig(layer_type="basic", **sizes))


def batches() -> list[dict[str, Tensor]]:
    every = Examples()
    return [{"pixel_values": every.pixels[i : i + 24], "labels": every.labels[i : i + 24]} for i in (0, 24)]


def trained(folder: Path, *callbacks: Any) -> tuple[nn.Module, Any]:
    model = network()
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=3,
        per_device_train_batch_size=16,
        learning_rate=0.01,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        seed=2,
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=Examples(), callbacks=[*callbacks])
    trainer.train()
    return model, trainer


def criterion(outputs: Any, labels: Tensor) -> Tensor:
    return functional.cross_entropy(outputs.logits, labels)


def test_a_run_ends_with_the_same_bits_and_its_history_has_the_figures(tmp_path: Path) -> None:
    monitor = bnsharp_cli.SharpnessMonitor(batches(), criterion, every=1, delta=1e-2)
    without, _ = trained(tmp_path)
    model, trainer = trained(tmp_path, SharpnessTrainerCallback(monitor))
    for mine, theirs in zip(model.state_dict().values(), without.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    logged = [entry for entry in trainer.state.log_history if "sharpness/bn" in entry]
    assert [entry["epoch"] for entry in logged] == [0, 1, 2, 3]
    assert [entry["step"] for entry in logged] == [0, 3, 6, 9]
    expected = bnsharp_cli.measure(model, batches(), criterion, delta=1e-2)
    assert logged[-1]["sharpness/bn"] == pytest.approx(expected.value, rel=1e-6)
    assert [entry["sharpness/bn"] for entry in logged] == [record["bn"] for record in monitor.records]
    trainer.save_state()
    kept = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    assert [entry["sharpness/bn"] for entry in kept if "sharpness/bn" in entry] == [r["bn"] for r in monitor.records]


def test_what_cannot_be_measured_ends_no_run(tmp_path: Path) -> None:
    def broken(outputs: Any, labels: Tensor) -> Tensor:
        raise KeyError("loss")

    monitor = bnsharp_cli.SharpnessMonitor(batches(), broken, every=1)
    with pytest.warns(UserWarning, match="Sharpness was not measured: .*KeyError: 'loss'") as caught:
        _, trainer = trained(tmp_path, SharpnessTrainerCallback(monitor))
    assert sum("was not measured" in str(one.message) for one in caught) == 1
    assert trainer.state.global_step == 9
    assert len(monitor.records) == 4


def test_what_is_no_monitor_is_refused() -> None:
    with pytest.raises(UsageError, match="monitor: expected a SharpnessMonitor, found a list"):
        SharpnessTrainerCallback(batches())
