"""Options of training and of the paper's experiments besides those of the training rules; nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.data.forms import CROSS_ENTROPY, LOSS_FORMS, TRAINING_DATA_FORMS
from bnsharp_cli.io.networks.forms import ARCHITECTURE_FORMS
from bnsharp_cli.option_records import OptionRecord, bracketed, never, option, same_option
from bnsharp_cli.training.paper_experiments import BUDGETS
from bnsharp_cli.workflows.input_files import located
from bnsharp_cli.workflows.named_inputs import DATA_NAMED, LOSS_NAMED, NETWORK_NAMED
from bnsharp_cli.workflows.options import CheckpointSource, Data


@dataclass(frozen=True)
class TrainingTask(OptionRecord):
    """What is trained on what.

    Attributes:
        arch: the network.
        arch_option: arguments of its constructor; None for none.
        data: the data set, whose training split is learned and whose test split judges.
        classes: what is taken for the classes of a folder, as for a measurement.
        data_root: folder of torchvision's data sets; None for torchvision's own.
        download: whether torchvision may download what is missing.
        image_size: pixels of the shorter side; 0 or None for images of their own size, where they are of one.
        resize: pixels of the shorter side, where the centre that is kept has another size.
        crop: pixels of the centre that is kept; None for all.
        loss: the loss of a batch.
    """

    arch: str = option("lenet-bn", f"Network: {ARCHITECTURE_FORMS}.", **NETWORK_NAMED)
    arch_option: Mapping[str, object] | None = same_option(CheckpointSource, "arch_option")
    data: str = option("digits", f"Data: {TRAINING_DATA_FORMS}.", **DATA_NAMED)
    classes: Literal["folder", "alphabetical"] | None = same_option(Data, "classes")
    data_root: Path | None = same_option(Data, "data_root")
    download: bool = same_option(Data, "download")
    image_size: int | None = same_option(Data, "image_size")
    resize: int | None = same_option(Data, "resize")
    crop: int | None = same_option(Data, "crop")
    loss: str = option(CROSS_ENTROPY, f"Loss: {LOSS_FORMS}.", **LOSS_NAMED)


@dataclass(frozen=True)
class TrainingRunOptions(OptionRecord):
    """What a training run does beside training; none of it changes a bit of the network.

    Attributes:
        output: checkpoint of the last network; the other files of the run go beside it.
        measure_every: epochs between two measurements of BN-Sharpness; 0 for none.
        measure_samples: samples that it is measured on.
        track: see :func:`~bnsharp_cli.integrations.trackers.open_tracker`.
        resume: go on with what is there.
        overwrite: replace what is there.
    """

    output: Path = option(
        MISSING,
        "Where to write the checkpoint; other files of the run go beside it.",
        expected="a file",
        example=f"For example {named('output')} run.pt.",
        harmless=never,
    )
    measure_every: int = option(
        0,
        "Measure BN-Sharpness every so many epochs; 0 for never.",
        metavar="EPOCHS",
        minimum=0,
        example="0 for never.",
    )
    measure_samples: int = option(
        1024,
        "Samples that it is measured on.",
        minimum=2,
    )
    track: str | None = option(
        None,
        "Send figures to tensorboard:DIR, mlflow:URI or wandb:PROJECT.",
        metavar="WHERE",
        harmless=never,
        located=located,
    )
    resume: bool = option(False, "Go on with the earlier run, if there is one; more epochs extend it.", harmless=never)
    overwrite: bool = option(False, "Replace the files of an earlier run.", harmless=never)

    def __post_init__(self) -> None:
        """Refuse what is out of range, and what does not fit together.

        Raises:
            UsageError: naming the argument.
        """
        super().__post_init__()
        if self.resume and self.overwrite:
            raise UsageError(
                f"{named('overwrite')} loses the run that {named('resume')} goes on with.",
                "Leave one of them out.",
                argument="overwrite",
                expected="one of the two",
                found="both",
            )


@dataclass(frozen=True)
class ReproductionOptions(OptionRecord):
    """How an experiment of the paper is done again.

    Attributes:
        output: folder of the networks, the results and the picture.
        budget: a name in :data:`~bnsharp_cli.training.paper_experiments.BUDGETS`.
        seeds: runs of each cell.
        cifar10: where CIFAR-10 is.
        cifar100: where CIFAR-100 is.
        only: names of the cells that are run; none for all.
        measured_samples: samples that final networks are measured on.
        data_root: folder of torchvision's data sets; None for torchvision's own.
        download: whether torchvision may download what is missing.
    """

    output: Path = option(
        MISSING,
        "Folder of the networks, the results and the picture.",
        expected="a folder",
        example=f"For example {named('output')} figure-1.",
        harmless=never,
    )
    budget: str = option(
        "smoke",
        "smoke (embedded digits, two minutes), cpu (5,000 images, 20 epochs) or full (the paper's).",
        metavar=bracketed(BUDGETS),
        complete=lambda _: BUDGETS,
    )
    seeds: int = option(1, "Runs of each cell.", minimum=1)
    cifar10: str = option(
        "cifar10", f"Where CIFAR-10 is, as in {named('data')} of train.", metavar="DATA", **DATA_NAMED
    )
    cifar100: str = option("cifar100", "Where CIFAR-100 is.", metavar="DATA", **DATA_NAMED)
    only: tuple[str, ...] = option((), "Run this cell alone, such as SGDS-0; repeatable.", metavar="CELL")
    measured_samples: int = option(
        2048,
        "Samples that final networks are measured on.",
        minimum=2,
    )
    data_root: Path | None = same_option(Data, "data_root")
    download: bool = same_option(Data, "download")
