"""Opens a checkpoint and its data, and holds them against each other."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import DataRefusedError, UsageError, counted, named
from bnsharp_cli.io.data.forms import AS_THEY_ARE
from bnsharp_cli.io.data.naming import naming
from bnsharp_cli.io.files.printable_text import kind_and_line
from bnsharp_cli.io.networks.network_identity import GUESS, NetworkIdentity
from bnsharp_cli.measurement.invariance.copies import restored_scales
from bnsharp_cli.measurement.measures.generalization import Generalization, generalization
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.shared_options import require_ample
from bnsharp_cli.measurement.surface.accuracy import NetworkFigures
from bnsharp_cli.measurement.surface.adapters import CheckedCriterion
from bnsharp_cli.measurement.surface.examination import examined, varied_over
from bnsharp_cli.measurement.surface.finite_loss import not_finite
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.norms import NormTreatment
from bnsharp_cli.measurement.surface.opened_surface import arithmetic, surface_kind
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.allocator import release_freed_memory
from bnsharp_cli.workflows.chance import suspicion, suspicious_loss
from bnsharp_cli.workflows.drawn_data import of_test_data
from bnsharp_cli.workflows.measured_network import CheckpointNetwork, LossOnData, MeasuredNetwork
from bnsharp_cli.workflows.open_inputs import OpenedInputs, open_inputs
from bnsharp_cli.workflows.options import CheckpointSource, Data
from bnsharp_cli.workflows.reporter import SILENT, Reporter


def open_network(
    checkpoint: Path | None,
    source: CheckpointSource,
    data: Data,
    options: MeasureOptions,
    device: torch.device,
    reporter: Reporter = SILENT,
) -> MeasuredNetwork:
    """Load checkpoint and data, build the network and evaluate it once.

    Args:
        checkpoint: a file or ``sample:NAME``; None for the embedded sample.
        source: which of its weights are taken, and which network they belong to.
        data: the loss.
        options: the precision, the memory layout and the parameters that are varied.
        device: where to compute.
        reporter: told what the user should know.

    Raises:
        BnsharpError: whatever does not fit, with its remedy; or little memory, which single measures alone can take.
    """
    require_ample(options.memory)
    inputs = open_inputs(checkpoint, source, data, options, reporter)
    return evaluated_network(inputs, options, device, reporter)


def evaluated_network(
    inputs: OpenedInputs, options: MeasureOptions, device: torch.device, reporter: Reporter = SILENT
) -> MeasuredNetwork:
    """Hold network and data against each other, and evaluate the network once.

    Args:
        inputs: the two.
        options: the precision and the memory layout.
        device: where to compute.
        reporter: told what the user should know.

    Raises:
        BnsharpError: they do not fit, or the loss is not finite.
    """
    opened, data, loss_on_data = inputs.opened, inputs.data_options, inputs.data
    surface, classes = _surface(opened, loss_on_data, data, options, device, reporter)
    surface = varied_over(surface, inputs.choice)
    point = surface.point()
    for note in surface.conduct.notes:
        reporter.notice(note)
    release_freed_memory()
    figures = surface.evaluated(point)
    criterion = loss_on_data.criterion
    if not math.isfinite(figures.loss):
        with naming(loss_on_data.spec):
            raise not_finite(surface, point, figures.loss)
    _announce_guess(opened.identity, figures.accuracy, reporter)
    known = figures.accuracy if criterion.of_classes else None
    warning = _warning(figures.loss, known, classes, loss_on_data) if data.split == "train" else ""
    if warning:
        reporter.notice(warning)
    test = None if inputs.test is None else _on_test_data(surface, point, figures, inputs.test, data, reporter)
    return MeasuredNetwork(
        opened,
        data,
        loss_on_data,
        surface,
        point,
        batch_losses=figures.batch_losses,
        batch_accuracies=figures.batch_accuracies if criterion.of_classes else (),
        accuracy=known,
        test=test,
        warning=warning,
    )


def _warning(loss: float, accuracy: float | None, classes: int, data: LossOnData) -> str:
    """Why this is hardly the loss that was trained; empty where nothing speaks for that."""
    if data.criterion.of_tokens:
        return suspicious_loss(loss, classes)
    return suspicion(accuracy, classes, data.batches.samples, of_text=data.text is not None)


def _on_test_data(
    surface: LossSurface, point: Point, figures: NetworkFigures, test: LossOnData, data: Data, reporter: Reporter
) -> tuple[LossOnData, Generalization]:
    """The network on the test data, once it is known to take it; the pass is not counted among those of the measures.

    Raises:
        BnsharpError: they do not fit, or the loss is not finite.
    """
    with of_test_data(), naming(test.spec):
        elsewhere = surface.on(test.batches.batches, test.batches.sizes)
        notice, _ = _require_fit(elsewhere, point, test, data.classes)
        if notice:
            reporter.notice(notice)
        found = generalization(surface, point, figures, elsewhere, test.criterion.of_classes)
        if not math.isfinite(found.loss):
            raise not_finite(elsewhere, point, found.loss)
    return test, found


def _surface(
    opened: CheckpointNetwork,
    loss_on_data: LossOnData,
    data: Data,
    options: MeasureOptions,
    device: torch.device,
    reporter: Reporter,
) -> tuple[LossSurface, int]:
    """The loss as a function of all parameters, once the network is known to take the data, and its classes."""
    criterion, batches = loss_on_data.criterion, loss_on_data.batches
    surface = surface_kind(options.memory).of(
        opened.module,
        batches.batches,
        CheckedCriterion(criterion.criterion, f"'{criterion.name}'", device),
        batch_statistics=data.bn == "batch",
        dtype=arithmetic(options.precision),
        device=device,
        processes=torchrun.current(),
        sizes=batches.sizes,
        layout=options.layout,
    )
    surface = replace(surface, progress=reporter.progress)
    point = surface.point()
    with naming(loss_on_data.spec):
        notice, classes = _require_fit(surface, point, loss_on_data, data.classes)
    if notice:
        reporter.notice(notice)
    surface = examined(surface)
    if opened.checkpoint.norm_epsilon:
        scales = restored_scales(surface, point, opened.checkpoint.norm_epsilon)
        surface = surface.with_norms(treatment=NormTreatment(data.bn == "batch", input_scales=scales))
    return surface, classes


def _require_every_class(names: tuple[str, ...], answers: int, choice: str | None) -> str:
    """Refuse class folders of another number than the network's classes, unless the user wants them as they are.

    Returns:
        What the user must know where they are wanted so.
    """
    if not names or answers in {0, len(names)}:
        return ""
    if choice == AS_THEY_ARE:
        return f"{counted(len(names), 'class folder')} for {answers} classes: class i is the i-th folder"
    raise DataRefusedError(
        f"{counted(len(names), 'class folder')} for a network of {answers} classes: labels would be of other classes.",
        f"Give a folder with one folder for each class, or add {named('classes')} {AS_THEY_ARE} if class i is the "
        "i-th folder.",
        expected=f"{answers} class folders",
        found=len(names),
    )


def _announce_guess(identity: NetworkIdentity, accuracy: float | None, reporter: Reporter) -> None:
    """Say that the network is a guess, and what speaks for it."""
    if identity.source != GUESS:
        return
    judge = "loss" if accuracy is None else f"accuracy of {accuracy:.2%}"
    for note in identity.notes:
        reporter.notice(note)
    reporter.notice(
        f"{identity.spec} is a guess from the names and shapes of the weights, in which strides and activations leave "
        f"no trace: let the {judge} decide, and say so with {named('arch')}"
    )


def _require_fit(surface: LossSurface, point: Point, data: LossOnData, choice: str | None) -> tuple[str, int]:
    """Refuse images that the network does not accept and labels that it cannot be compared with.

    Returns:
        What the user must know of the classes, or nothing; how many the network answers for, 0 if that is unknown.
    """
    inputs, labels = (part[:2] for part in surface.batches[0])
    try:
        with torch.no_grad():
            outputs = surface.outputs(point, inputs)
    except UsageError:
        raise
    except Exception as error:  # a network raises whatever it stumbles over
        cause = error.__cause__ or error
        raise DataRefusedError(
            f"The network does not accept inputs of {tuple(inputs.shape[1:])}: {kind_and_line(cause)}.",
            "Use the data, the preprocessing and the architecture that belong together. Tokens are stored as int64: "
            "uint8 stands for pixels.",
        ) from error
    if not outputs:
        return "", 0
    answers = data.criterion.answers(outputs[0])
    notice = _require_every_class(data.classes, answers, choice) if data.criterion.of_classes else ""
    data.criterion.require_targets(outputs[0], labels, data.batches.labels)
    return notice, answers
