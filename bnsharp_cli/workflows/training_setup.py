"""What is trained: data, network and loss, opened and held against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bnsharp_cli.api import find_blocks
from bnsharp_cli.errors import UsageError, named, shown
from bnsharp_cli.io.data.channel_statistics import channel_statistics
from bnsharp_cli.io.data.checked_split import CheckedSplit, read_checked, share_of_memory
from bnsharp_cli.io.data.criteria import NamedCriterion, open_criterion
from bnsharp_cli.io.data.labels import label_range
from bnsharp_cli.io.data.library_preprocessing import with_librarys_resizing
from bnsharp_cli.io.data.naming import naming
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.preprocessing_override import PreprocessingOverride
from bnsharp_cli.io.data.splits import Split, UnequalSizesError
from bnsharp_cli.io.files.printable_text import kind_and_line
from bnsharp_cli.io.networks.constructors import ARGUMENT_NAMES, family
from bnsharp_cli.io.networks.network_identity import OPTION, NetworkIdentity, build_architecture, require_architecture
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.surface.accuracy import prediction
from bnsharp_cli.measurement.surface.adapters import CheckedCriterion
from bnsharp_cli.measurement.surface.processes import ALONE, Processes
from bnsharp_cli.measurement.surface.settings import TRAINED_PARAMETERS
from bnsharp_cli.measurement.surface.tensor_trees import as_float64, map_tensors
from bnsharp_cli.training.evaluation import LossFunction, batch_loss
from bnsharp_cli.training.examples import Examples, ExamplesInMemory, StreamedExamples
from bnsharp_cli.training.loop import Training
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.workflows.reporter import SILENT, Reporter
from bnsharp_cli.workflows.training_options import TrainingTask

_SPLITS = ("train", "test")
_FEW = 64


@dataclass(frozen=True)
class TrainingSetup:
    """A network with its data and its loss.

    Attributes:
        task: what was asked for.
        module: with its initial weights.
        architecture_options: all arguments of its constructor.
        preprocessing: what is done to every image.
        criterion: the loss.
        split: what it is trained on, as it was opened.
        train: the examples of it.
        test: those that it is judged by.
    """

    task: TrainingTask
    module: nn.Module
    architecture_options: Mapping[str, object]
    preprocessing: Preprocessing
    criterion: NamedCriterion
    split: Split
    train: Examples
    test: Examples

    @property
    def data(self) -> str:
        """The kind of data, without the path of this machine."""
        return self.task.data.partition(":")[0]

    @property
    def black(self) -> Tensor:
        """What normalisation makes of a black pixel, (1, C, 1, 1)."""
        return self.preprocessing.normalise(torch.zeros(1, self.train.shape[0], 1, 1))

    def loss_of(self, outputs: Any, targets: Tensor) -> Tensor:
        """The loss that is trained: of the prediction, or of all that the network returns."""
        loss: Tensor = self.criterion.criterion(prediction(outputs) if self.criterion.tensor_only else outputs, targets)
        return loss

    def blocks(self, reporter: Reporter = SILENT) -> Blocks:
        """The scale-invariant rows, found on a few images; ``reporter`` is told how far the search is."""
        few, criterion = next(self.train.batches([torch.arange(min(_FEW, len(self.train)))])), self.criterion.criterion
        return find_blocks(self.module, [few], criterion, parameters=TRAINED_PARAMETERS, progress=reporter.standing)

    def training(
        self,
        options: TrainingOptions,
        device: torch.device,
        processes: Processes = ALONE,
        reporter: Reporter = SILENT,
    ) -> Training:
        """Its training, with nothing done yet."""
        return Training(
            self.module,
            self.train,
            options,
            self.loss_of,
            black=self.black,
            blocks=partial(self.blocks, reporter),
            device=device,
            processes=processes,
        )

    def judge(self, device: torch.device) -> LossFunction:
        """The same loss for outputs in float64, as figures are made with."""
        checked, tensor_only = _checked(self.criterion, device), self.criterion.tensor_only
        return lambda outputs, targets: checked(prediction(outputs) if tensor_only else outputs, targets)


def _checked(criterion: NamedCriterion, device: torch.device) -> CheckedCriterion:
    return CheckedCriterion(criterion.criterion, f"'{criterion.name}'", device)


def open_setup(
    task: TrainingTask, seed: int, device: torch.device, processes: int, reporter: Reporter = SILENT
) -> TrainingSetup:
    """Open the data, build the network and evaluate it once.

    Args:
        task: what is trained on what.
        seed: the seed of the initial weights.
        device: where it is trained.
        processes: how many share the memory of this machine.
        reporter: told how far the data is read.

    Raises:
        BnsharpError: whatever does not fit, with its remedy.
    """
    criterion, progress = open_criterion(task.loss), reporter.activity
    require_architecture(task.arch, task.arch_option or {})
    with naming(task.data), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        splits = [
            open_data(task.data, name, task.data_root, task.download, progress, classes=task.classes)
            for name in _SPLITS
        ]
        for notice in dict.fromkeys(line for split in splits for line in getattr(split, "notices", ())):
            reporter.notice(notice)
        preprocessing, whole = _read(task, splits, seed, share_of_memory(processes), reporter)
        module, options = _untrained(task, seed, whole[0])
        examples = [_examples(split) for split in whole]
        _require_fit(task.arch, module, examples, [split.targets for split in whole], criterion)
    if isinstance(criterion.criterion, nn.Module):
        criterion.criterion.to(device)
    return TrainingSetup(task, module, options, preprocessing, criterion, splits[0], examples[0], examples[1])


def _read(
    task: TrainingTask, splits: Sequence[Split], seed: int, budget: int, reporter: Reporter
) -> tuple[Preprocessing, list[CheckedSplit]]:
    """Read all splits, and tell what their images got.

    Images of several sizes are resized as the network's library does where nobody has said otherwise.
    """

    def read(chosen: Preprocessing) -> tuple[Preprocessing, list[CheckedSplit]]:
        measured = channel_statistics(splits[0], chosen)
        return measured, [read_checked(split, measured, budget, reporter.activity) for split in splits]

    override = PreprocessingOverride(task.image_size, resize=task.resize, crop=task.crop)
    preprocessing, resized = override.apply(Preprocessing()), ""
    try:
        return read(preprocessing)
    except UnequalSizesError:
        if not override.sized:
            options = dict(task.arch_option or {})
            identity, module = NetworkIdentity(task.arch, options, OPTION), _seeded(task.arch, options, seed)
            preprocessing, resized = with_librarys_resizing(preprocessing, identity, module)
        if not resized:
            raise
    reporter.notice(resized)
    return read(preprocessing)


def _examples(split: CheckedSplit) -> Examples:
    if split.inputs is not None:
        return ExamplesInMemory(split.inputs, split.targets)
    return StreamedExamples(split.read, len(split.targets), split.shape, ahead=split.repeatable)


def _untrained(task: TrainingTask, seed: int, split: CheckedSplit) -> tuple[nn.Module, dict[str, object]]:
    """The network with weights from the seed, and its options with what the data decides."""
    labels, resolved = split.targets, dict(task.arch_option or {})
    known = ARGUMENT_NAMES.get(family(task.arch))
    if known is not None:
        classes = math.prod(labels.shape[1:]) if labels.is_floating_point() else int(labels.max()) + 1
        resolved = {known.channels: split.shape[0], known.classes: classes, **resolved}
    if task.arch == "lenet-bn":
        resolved = {"image_size": split.shape[-1], **resolved}
    return _seeded(task.arch, resolved, seed), resolved


def _seeded(arch: str, options: Mapping[str, object], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_architecture(arch, dict(options))


def _require_fit(
    arch: str, module: nn.Module, examples: Sequence[Examples], targets: Sequence[Tensor], criterion: NamedCriterion
) -> None:
    """Refuse a network that does not accept the images, and labels that it cannot be compared with."""
    images, labels = next(examples[0].batches([torch.arange(min(2, len(examples[0])))]))
    try:
        outputs = map_tensors(as_float64, module.eval()(images))
    except (Exception, SystemExit) as error:  # a network raises whatever it stumbles over
        raise UsageError(
            f"{shown(arch)} does not accept images of {tuple(images.shape[1:])}: {kind_and_line(error)}.",
            f"Choose another {named('arch')}, or its {named('arch_option')}.",
            argument="arch",
            expected=f"a network for images of {tuple(images.shape[1:])}",
            found=kind_and_line(error),
        ) from error
    answer = prediction(outputs)
    if criterion.tensor_only and (answer is None or answer.ndim == 1):
        raise UsageError(
            f"{shown(arch)} does not answer with one tensor (N, classes).",
            f"Choose another {named('arch')} or {named('loss')}.",
            argument="arch",
            expected="a network that answers with one tensor",
            found=arch,
        )
    if answer is not None:
        span = label_range(torch.cat([*targets]))
        criterion.require_targets(answer.detach(), torch.cat([*targets]), span)
    batch_loss(_checked(criterion, torch.device("cpu")), answer if criterion.tensor_only else outputs, labels)


def with_seed(setup: TrainingSetup, seed: int) -> TrainingSetup:
    """The same with other initial weights."""
    return replace(setup, module=_seeded(setup.task.arch, setup.architecture_options, seed))
