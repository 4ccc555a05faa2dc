"""Opens a checkpoint and its data, and holds them against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

import torch

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import DataRefusedError, UsageError, counted, named
from bnsharp_cli.io.checkpoints.checkpoint import Checkpoint, opened_checkpoint
from bnsharp_cli.io.checkpoints.samples import checkpoint_path
from bnsharp_cli.io.data.batches import DrawnBatches, draw_batches
from bnsharp_cli.io.data.criteria import open_criterion
from bnsharp_cli.io.data.forms import AS_THEY_ARE
from bnsharp_cli.io.data.library_preprocessing import choose_preprocessing, require_modest, with_librarys_resizing
from bnsharp_cli.io.data.naming import naming
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.preprocessing_override import PreprocessingOverride
from bnsharp_cli.io.data.recorded_data import recorded_data
from bnsharp_cli.io.data.splits import Split, UnequalSizesError
from bnsharp_cli.io.data.value_range import require_such_numbers
from bnsharp_cli.io.files.printable_text import kind_and_line, one_line, shown_path
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.loaded_network import fitting_network, loaded_network
from bnsharp_cli.io.networks.network_identity import GUESS, OPTION, NetworkIdentity
from bnsharp_cli.measurement.invariance.copies import restored_scales
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.adapters import CheckedCriterion, adapt
from bnsharp_cli.measurement.surface.examination import examined, varied_over
from bnsharp_cli.measurement.surface.finite_loss import not_finite
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.norms import NormTreatment
from bnsharp_cli.measurement.surface.parameter_choice import choose_parameters
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.allocator import release_freed_memory
from bnsharp_cli.workflows.chance import suspicion
from bnsharp_cli.workflows.input_files import input_files
from bnsharp_cli.workflows.measured_network import CheckpointNetwork, LossOnData, MeasuredNetwork
from bnsharp_cli.workflows.options import CheckpointSource, Data
from bnsharp_cli.workflows.reporter import SILENT, Reporter
from bnsharp_cli.workflows.whole_numbers import wants_whole_numbers


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
        BnsharpError: whatever does not fit, with its remedy.
    """
    opened = _open_checkpoint(checkpoint_path(checkpoint), source, reporter)
    choice = choose_parameters(opened.module, options.parameters)
    loss_on_data = _open_data(opened, data, reporter)
    surface, classes = _surface(opened, loss_on_data, data, options, device, reporter)
    surface = varied_over(surface, choice)
    point = surface.point()
    for note in surface.conduct.notes:
        reporter.notice(note)
    release_freed_memory()
    figures = surface.evaluated(point)
    loss, accuracy = figures.loss, figures.accuracy
    criterion = loss_on_data.criterion
    if not math.isfinite(loss):
        with naming(loss_on_data.spec):
            raise not_finite(surface, point, loss)
    _announce_guess(opened.identity, accuracy, reporter)
    known = accuracy if criterion.of_classes else None
    warning = suspicion(known, classes, loss_on_data.batches.samples) if data.split == "train" else ""
    if warning:
        reporter.notice(warning)
    return MeasuredNetwork(opened, data, loss_on_data, surface, point, loss, known, warning)


def _open_checkpoint(path: Path, source: CheckpointSource, reporter: Reporter) -> CheckpointNetwork:
    with opened_checkpoint(path, source.key) as opened:
        identity = identify(opened.outline, source.arch, dict(source.arch_option or {}))
        module = fitting_network(identity, opened.outline)
        checkpoint = opened.read()
    module, notes = loaded_network(identity, checkpoint, module)
    checkpoint = replace(checkpoint, notes=(*checkpoint.notes, *notes))
    for note in checkpoint.notes:
        reporter.notice(note)
    return CheckpointNetwork(checkpoint, identity, module)


def _open_data(opened: CheckpointNetwork, data: Data, reporter: Reporter) -> LossOnData:
    """The batches as the network gets them, with their loss."""
    data, metadata = _known_data(data, opened.checkpoint, reporter), opened.checkpoint.metadata
    spec = str(data.data)
    override = PreprocessingOverride(data.image_size, data.mean, data.std, data.resize, data.crop)
    preprocessing, origin = choose_preprocessing(metadata, opened.identity, opened.module, override)
    if origin:
        reporter.notice(origin)
    criterion = open_criterion(data.loss, _entries(metadata.get("training")).get("loss"))
    adapt(opened.module, criterion.tensor_only, data.output_key, "output_key")
    with naming(spec):
        split = open_data(spec, data.split, data.data_root, data.download, reporter.activity, classes=data.classes)
        for notice in getattr(split, "notices", ()):
            reporter.notice(notice)
        if not override.sized and _is_stated_by_file(opened):
            require_modest(preprocessing, split)
        batches, preprocessing, notices = _drawn(split, opened, data, (preprocessing, override, origin), reporter)
    for notice in (*notices, batches.notice):
        if notice:
            reporter.notice(notice)
    return LossOnData(spec, batches, preprocessing, criterion, tuple(getattr(split, "classes", ())))


def _drawn(
    split: Split,
    opened: CheckpointNetwork,
    data: Data,
    chosen: tuple[Preprocessing, PreprocessingOverride, str],
    reporter: Reporter,
) -> tuple[DrawnBatches, Preprocessing, tuple[str, ...]]:
    """The batches, what was done to their images, and what the user must know of it.

    Images of several sizes are resized as the network's library does where nobody has said otherwise.
    """
    preprocessing, override, origin = chosen

    def draw(done: Preprocessing) -> DrawnBatches:
        whole = len(split) > 0 and wants_whole_numbers(opened.module, split, done)
        chosen = (split, data.samples, data.batch_size, data.seed, done)
        return draw_batches(*chosen, whole_numbers=whole, progress=reporter.activity)

    resized = ""
    try:
        batches = draw(preprocessing)
    except UnequalSizesError:
        if not override.sized:
            preprocessing, resized = with_librarys_resizing(preprocessing, opened.identity, opened.module)
        if not resized:
            raise
        batches = draw(preprocessing)
    return batches, preprocessing, (resized, require_such_numbers(split, preprocessing, override, origin))


def _is_stated_by_file(opened: CheckpointNetwork) -> bool:
    """Whether what the images get follows from the file alone: it says so, or it says which network it is of."""
    return (
        not opened.checkpoint.metadata.keys().isdisjoint({"preprocessing", "args"}) or opened.identity.source != OPTION
    )


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
    surface = LossSurface.of(
        opened.module,
        batches.batches,
        CheckedCriterion(criterion.criterion, f"'{criterion.name}'", device),
        batch_statistics=data.bn == "batch",
        dtype=torch.float64 if options.precision == "float64" else torch.float32,
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


def _known_data(given: Data, checkpoint: Checkpoint, reporter: Reporter) -> Data:
    """The data that the user names, or else that the checkpoint records.

    Raises:
        UsageError: neither, or what it records is not opened unasked.
    """
    stated = checkpoint.metadata.get("data")
    if given.data is not None:
        return given
    if stated == "digits":
        return replace(given, data="digits")
    recorded = recorded_data(checkpoint.metadata, checkpoint.path)
    option, root = named("data"), given.data_root
    if recorded is not None and (recorded.usable or root is not None):
        source = "" if recorded.root is None else f" in {shown_path(root or recorded.root)}"
        reporter.notice(
            f"data: {one_line(recorded.spec)}{source}, as {shown_path(checkpoint.path.name)} records it; "
            f"{option} names other data"
        )
        folder = root or recorded.root
        reporter.reads([*input_files((), recorded.spec), *([] if folder is None else [folder])])
        return replace(given, data=recorded.spec, data_root=folder)
    trained_on = f" (it was trained on '{one_line(stated)}' data)" if isinstance(stated, str) else ""
    example = f"Name it with {option}, for example {option} folder:DIR or {option} npz:FILE."
    if recorded is not None:
        in_folder = "" if recorded.root is None else f" {named('data_root')} {quote(shown_path(recorded.root))}"
        trained_on = " (what it records lies outside the working directory and its own folder, or is not there)"
        example = f"If you trust it, add {option} {quote(shown_path(recorded.spec))}{in_folder}."
    raise UsageError(
        f"{shown_path(checkpoint.path)} needs data to be measured on{trained_on}.",
        example,
        argument="data",
        expected="a data set",
        subject=checkpoint.path,
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
    answers = outputs[0].shape[1] if outputs[0].ndim > 1 else 0
    notice = _require_every_class(data.classes, answers, choice) if data.criterion.of_classes else ""
    data.criterion.require_targets(outputs[0], labels, data.batches.labels)
    return notice, answers


def _entries(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
