"""Files as other programs really write them: each is measured, and gives what the network in memory gives."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel

import bnsharp_cli
from bnsharp_cli.io.data.batches import draw_batches
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.models import lenet_bn
from tests.cli.helpers import bnsharp
from tests.io.checkpoints.families import BY_NAME, CLASSES, EACH_FAMILY, FAMILIES, build, images, normalised_rows

DIGITS = ("--arch", "lenet-bn", "--data", "digits", "--samples", 64, "--batch-size", 32)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return lenet_bn(1, 10, 8)


def value_in_memory(module: nn.Module) -> float:
    batches = draw_batches(open_data("digits"), 64, 32, 0, Preprocessing())
    return bnsharp_cli.measure(module, batches.batches).value


@pytest.fixture(scope="module")
def reference() -> float:
    return value_in_memory(network())


def measured(path: Path, *options: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(bnsharp("measure", path, *options, "--json", folder=path.parent).stdout)
    return document


def value(document: dict[str, Any]) -> float:
    return document["measures"]["bn"]["value"]


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


WRAPPINGS = {
    "bare": lambda module: module,
    "ddp": DistributedDataParallel,
    "compiled": torch.compile,
    "compiled, then ddp": lambda module: DistributedDataParallel(torch.compile(module)),
    "ddp, then compiled": lambda module: torch.compile(DistributedDataParallel(module)),
    "averaged": AveragedModel,
    "ddp, then averaged": lambda module: AveragedModel(DistributedDataParallel(module)),
    "averaged, then ddp": lambda module: DistributedDataParallel(AveragedModel(module)),
    "in net": lambda module: nn.ModuleDict({"net": module}),
    "in model, in backbone, compiled": lambda module: nn.ModuleDict(
        {"model": torch.compile(nn.ModuleDict({"backbone": module}))}
    ),
}


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrapped_networks(tmp_path: Path, reference: float, wrapping: str) -> None:
    torch.save(WRAPPINGS[wrapping](network()).state_dict(), tmp_path / "net.pt")
    document = measured(tmp_path / "net.pt", *DIGITS)
    assert value(document) == pytest.approx(reference, rel=1e-12)
    assert document["blocks"]["invariant"] == normalised_rows(network())[1]
    assert any("n_averaged" in note for note in document["checkpoint"]["notes"]) == ("averaged" in wrapping)


def test_submodules_compiled_one_by_one(tmp_path: Path, reference: float) -> None:
    module = network()
    module.conv2 = torch.compile(module.conv2)
    torch.save(module.state_dict(), tmp_path / "net.pt")
    assert value(measured(tmp_path / "net.pt", *DIGITS)) == pytest.approx(reference, rel=1e-12)


@pytest.mark.parametrize("writer", ["zip", "legacy", "safetensors file", "safetensors model", "nested"])
def test_writers_of_bare_weights(tmp_path: Path, reference: float, writer: str) -> None:
    path, module = tmp_path / "weights", network()
    if writer == "safetensors file":
        save_file(module.state_dict(), path, metadata={"epoch": "3"})
    elif writer == "safetensors model":
        save_model(module, str(path))
    elif writer == "nested":
        torch.save({"epoch": 3, "model": {"state_dict": module.state_dict(), "depth": 5}}, path)
    else:
        torch.save(module.state_dict(), path, _use_new_zipfile_serialization=writer == "zip")
    document = measured(path, *DIGITS)
    assert value(document) == pytest.approx(reference, rel=1e-12)
    assert document["checkpoint"]["format"] == ("safetensors" if "safetensors" in writer else "state_dict")
    assert document["checkpoint"]["key"] == ("model.state_dict" if writer == "nested" else "")


def test_tied_weights_of_which_safetensors_keeps_one_name(tmp_path: Path) -> None:
    save_model(Tied(), str(tmp_path / "net.safetensors"))
    options = ("--arch", f"{__name__}:Tied", "--data", "digits", "--samples", 64, "--batch-size", 32)
    assert math.isfinite(value(measured(tmp_path / "net.safetensors", *options)))


class Tied(nn.Module):
    """Two names of one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64, bias=False)
        self.second = nn.Linear(64, 64, bias=False)
        self.second.weight = self.first.weight
        self.norm, self.last = nn.BatchNorm1d(64), nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.second(self.first(images.flatten(1)))))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_measured_and_noted(tmp_path: Path, dtype: torch.dtype) -> None:
    module = network().to(dtype)
    torch.save(module.state_dict(), tmp_path / "net.pt")
    document = measured(tmp_path / "net.pt", *DIGITS)
    assert value(document) == pytest.approx(value_in_memory(module.float()), rel=1e-12)
    name = str(dtype).removeprefix("torch.")
    assert document["checkpoint"]["notes"] == [f"weights stored as {name} are taken as float32"]


def invariant_weights(document: dict[str, Any]) -> dict[str, int]:
    tensors = document["blocks"]["tensors"]
    return {tensor["name"]: tensor["invariant"] for tensor in tensors if tensor["rows"] and tensor["invariant"]}


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_families_of_torchvision(tmp_path: Path, family: str) -> None:
    torch.manual_seed(0)
    module = build(family)
    torch.save(module.state_dict(), tmp_path / "net.pt")
    arch, options = ("tests.io.checkpoints.families:build", [f"family={family}"])
    if family in BY_NAME:
        arch, options = f"torchvision:{family}", BY_NAME[family]
    chosen = [word for option in options for word in ("--arch-option", option)]
    document = measured(tmp_path / "net.pt", "--arch", arch, *chosen, *images(tmp_path, FAMILIES[family][0]))
    rows, blocks = normalised_rows(module)
    found = {name: count for name, count in invariant_weights(document).items() if name.endswith("weight")}
    assert found == rows
    assert document["blocks"]["invariant"] == blocks
    assert math.isfinite(document["loss"])
    assert 0 < value(document) < math.inf


def with_weight_norm(dim: int | None = 0, old: bool = False) -> nn.Module:
    """A network all of whose convolutions and matrices have a weight norm."""
    module = build("vgg_bn")
    norm = nn.utils.weight_norm if old else parametrizations.weight_norm
    for part in [part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear)]:
        norm(part, dim=dim)
    return module


HOOKS = pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")


@HOOKS
@pytest.mark.parametrize("written_old", [False, True], ids=["parametrised file", "file of hooks"])
@pytest.mark.parametrize(
    "arch",
    [
        ("tests.io.checkpoints.families:build", "family=vgg_bn"),
        (f"{__name__}:with_weight_norm", "old=False"),
        (f"{__name__}:with_weight_norm", "old=True"),
    ],
    ids=["plain factory", "parametrised factory", "factory with hooks"],
)
def test_weight_norm_has_its_own_blocks(tmp_path: Path, written_old: bool, arch: tuple[str, str]) -> None:
    torch.manual_seed(0)
    torch.save(with_weight_norm(old=written_old).state_dict(), tmp_path / "net.pt")
    named = ("--arch", arch[0], "--arch-option", arch[1])
    document = measured(tmp_path / "net.pt", *named, *images(tmp_path, 32))
    plain = build("vgg_bn")
    rows = {
        f"{name}.parametrizations.weight.original1": len(part.weight)
        for name, part in plain.named_modules()
        if isinstance(part, nn.Conv2d | nn.Linear)
    }
    lengths = {  # of rows that a norm follows
        name.replace("weight", "parametrizations.weight.original0"): count
        for name, count in normalised_rows(plain)[0].items()
    }
    assert invariant_weights(document) == rows | lengths
    assert document["blocks"]["invariant"] == sum(rows.values()) + sum(lengths.values())


def test_weight_norm_computes_what_the_network_in_memory_computes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = with_weight_norm(dim=1)
    torch.save(module.state_dict(), tmp_path / "net.pt")
    data = images(tmp_path, 32)
    (batch,) = draw_batches(open_data(f"npz:{tmp_path / 'images.npz'}"), 8, 8, 0, Preprocessing()).batches
    document = measured(
        tmp_path / "net.pt", "--arch", "tests.io.checkpoints.families:build", "--arch-option", "family=vgg_bn", *data
    )
    with torch.no_grad():
        loss = nn.functional.cross_entropy(module.train()(batch[0]), batch[1])
    assert document["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert value(document) == pytest.approx(bnsharp_cli.measure(module, [batch]).value, rel=1e-9)


def test_weight_norm_is_invariant_under_rescaling(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(with_weight_norm().state_dict(), tmp_path / "net.pt")
    named = ("--arch", "tests.io.checkpoints.families:build", "--arch-option", "family=vgg_bn")
    finished = bnsharp("rescale-test", "net.pt", *named, *images(tmp_path, 32), "--json", folder=tmp_path)
    assert json.loads(finished.stdout)["verdict"]["invariant"] is True


def test_timm_and_the_average_it_keeps(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm writes these files")
    from timm.utils import CheckpointSaver, ModelEmaV3

    torch.manual_seed(0)
    module = timm.create_model("test_resnet", num_classes=CLASSES)
    average = ModelEmaV3(module, decay=0.5)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    module.train()(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    average.update(module)
    options = argparse.Namespace(model="test_resnet", lr=0.1, output=None)
    folder = str(tmp_path)
    saver = CheckpointSaver(
        module, optimizer, args=options, model_ema=average, checkpoint_dir=folder, recovery_dir=folder
    )
    saver.save_checkpoint(0, metric=0.5)
    path, rest = tmp_path / "last.pth.tar", ("--arch", "timm:test_resnet", "--image-size", 0, *images(tmp_path, 32))
    trained, averaged = (measured(path, *rest, *key) for key in ((), ("--key", "state_dict_ema")))
    assert value(trained) != value(averaged)
    torch.save(average.module.state_dict(), tmp_path / "bare.pt")
    assert value(averaged) == pytest.approx(value(measured(tmp_path / "bare.pt", *rest)), rel=1e-12)
    assert invariant_weights(trained) == normalised_rows(module)[0]
    assert "several state_dicts: state_dict, state_dict_ema; state_dict is taken" in trained["checkpoint"]["notes"][0]
    assert averaged["checkpoint"]["notes"] == []


@pytest.mark.filterwarnings("ignore")
def test_lightning_with_its_hyper_parameters_and_its_loss(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch", reason="Lightning writes these files")
    from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint

    class Task(lightning.LightningModule):
        def __init__(self, rate: float, folder: Path, options: argparse.Namespace) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.model = network()
            self.criterion = nn.CrossEntropyLoss(weight=torch.ones(10))

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            return self.criterion(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=self.hparams.rate, momentum=0.9)

    task = Task(0.01, Path("runs/1"), argparse.Namespace(depth=3))
    samples = torch.utils.data.TensorDataset(torch.randn(32, 1, 8, 8), torch.randint(10, (32,)))
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, torch.utils.data.DataLoader(samples, batch_size=16))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    (of_callback,) = tmp_path.glob("checkpoints/*.ckpt")
    for path in (tmp_path / "last.ckpt", of_callback):
        document = measured(path, *DIGITS)
        assert document["checkpoint"]["format"] == "lightning"
        assert document["checkpoint"]["notes"] == ["left out as no part of the network: criterion.weight"]
        assert value(document) == pytest.approx(value_in_memory(task.model), rel=1e-12)
        stated = load_checkpoint(path).metadata["hyper_parameters"]
        assert stated == {"rate": 0.01, "folder": "runs/1", "options": {"depth": 3}}
