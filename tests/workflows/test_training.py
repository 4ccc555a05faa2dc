"""Training, inspection and the paper's experiments, called from Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.workflows.inspection import inspect_file
from bnsharp_cli.workflows.inspection_options import InspectionOptions
from bnsharp_cli.workflows.options import Computing
from bnsharp_cli.workflows.reproducing import reproduce_experiment
from bnsharp_cli.workflows.run_identity import recorded, require_same
from bnsharp_cli.workflows.training import train_network
from bnsharp_cli.workflows.training_options import ReproductionOptions, TrainingRunOptions, TrainingTask
from tests.workflows.helpers import Remembered


def test_a_network_is_trained_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = TrainingRunOptions(output=tmp_path / "run.pt")
    trained = train_network(options, TrainingTask(), TrainingOptions(epochs=1, batch_size=256))
    assert capsys.readouterr() == ("", "")
    assert {*trained.figures} == {"train", "test"}
    assert trained.best is not None
    assert trained.best.epoch == 1
    assert load_checkpoint(trained.files.output).metadata["training"]["epochs"] == 1
    resumed = TrainingRunOptions(output=tmp_path / "run.pt", resume=True)
    with pytest.raises(UsageError, match=r"run\.state is of a run with other options: epochs 1 \(now 2\), seed 0"):
        train_network(resumed, TrainingTask(), TrainingOptions(epochs=2, batch_size=256, seed=1))


def test_mixed_precision_needs_a_gpu(tmp_path: Path) -> None:

    with pytest.raises(UsageError, match=r"amp needs a CUDA device\. Leave it out, or name one with device cuda"):
        train_network(
            TrainingRunOptions(output=tmp_path / "run.pt"),
            training=TrainingOptions(amp="bf16"),
            computing=Computing("cpu"),
        )


def test_the_names_in_a_state_are_those_of_its_format(tmp_path: Path) -> None:
    decided = {"batch_size": 32, "milestones": [4], "number of processes": 1}
    assert recorded(decided) == {"--batch-size": 32, "--milestone": [4], "number of processes": 1}
    require_same(tmp_path, recorded(decided), decided)
    with pytest.raises(UsageError) as refused:
        require_same(tmp_path, {**recorded(decided), "--later": 1}, {**decided, "milestones": []})
    assert "milestones [4] (now [])" in refused.value.reason
    assert "--later 1 (now None)" in refused.value.reason


def test_a_resumed_run_is_refused_by_the_names_of_the_options(tmp_path: Path) -> None:
    decided = TrainingOptions(rule="sgds").to_dict()
    other = {**decided, "clip": 0.2, "form": "exact", "batches": "independent"}
    with pytest.raises(UsageError) as refused:
        require_same(tmp_path, recorded(decided), other)
    for change in ("clip 0.1 (now 0.2)", "gradient corrected (now exact)", "batches same (now independent)"):
        assert f" regulariser_{change}" in refused.value.reason


def test_a_checkpoint_is_inspected() -> None:
    inspected = inspect_file(None, options=InspectionOptions(partition="extended"))
    document = inspected.document()
    assert document["blocks"]["partition"] == "extended"
    assert document["options"] == {"partition": "extended", "seed": 0, "image_size": None}
    assert inspected.inspection.anatomy is not None


def test_an_experiment_says_what_it_costs_and_is_kept(tmp_path: Path) -> None:
    heard = Remembered()
    options = ReproductionOptions(output=tmp_path / "f1", only=("SGD",), measured_samples=64)
    reproduction = reproduce_experiment("figure-1", options, reporter=heard)
    assert heard.notices[0].startswith("1 of 1 runs to train, ")
    assert heard.notices[1] == "run 1/1: SGD on digits, seed 0"
    (result,) = [json.loads(line) for line in reproduction.results.read_text().splitlines()]
    assert reproduction.document()["results"] == [result]
    assert reproduction.picture.exists()
    again = Remembered()
    assert reproduce_experiment("figure-1", options, reporter=again).document() == reproduction.document()
    assert again.notices == []


def test_cells_that_an_experiment_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only: expected one of SGD, SGDS-0, SGDS-5, found 'SAM'"):
        reproduce_experiment("figure-1", ReproductionOptions(output=tmp_path, only=("SAM",)))


@pytest.mark.parametrize(
    ("arch", "refusal"),
    [
        ("lenet-bm", r"Unknown network 'lenet-bm'\. Did you mean lenet-bn\?"),
        ("torchvision:resnet81", "torchvision has no image classifier 'resnet81'"),
        ("nowhere.py:net", "no such file: nowhere.py"),
    ],
)
def test_an_unknown_network_is_refused_before_the_data_is_read(tmp_path: Path, arch: str, refusal: str) -> None:
    data = tmp_path / "images.py"
    data.write_text("def load(split):\n    raise SystemExit('the data was read')\n")
    with pytest.raises(UsageError, match=refusal):
        train_network(TrainingRunOptions(output=tmp_path / "run.pt"), TrainingTask(arch=arch, data=f"{data}:load"))
