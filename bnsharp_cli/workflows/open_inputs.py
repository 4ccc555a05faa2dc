"""Opens a checkpoint and its data: what a network is made of and measured on, before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.checkpoints.checkpoint import Checkpoint, opened_checkpoint
from bnsharp_cli.io.checkpoints.samples import checkpoint_path
from bnsharp_cli.io.data.criteria import open_criterion
from bnsharp_cli.io.data.forms import is_text
from bnsharp_cli.io.data.library_preprocessing import choose_preprocessing
from bnsharp_cli.io.data.recorded_data import recorded_data
from bnsharp_cli.io.files.printable_text import one_line, shown_path
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.loaded_network import fitting_network, loaded_network
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.adapters import adapt
from bnsharp_cli.measurement.surface.parameter_choice import ParameterChoice, choose_parameters
from bnsharp_cli.workflows.drawn_data import drawn_data, drawn_test_data, overridden
from bnsharp_cli.workflows.drawn_text import drawn_text
from bnsharp_cli.workflows.input_files import input_files
from bnsharp_cli.workflows.measured_network import CheckpointNetwork, LossOnData
from bnsharp_cli.workflows.options import CheckpointSource, Data
from bnsharp_cli.workflows.reporter import SILENT, Reporter


@dataclass(frozen=True)
class OpenedInputs:
    """A network with its weights, and the batches.

    Attributes:
        opened: the network, with the weights of the checkpoint.
        choice: the parameters that are varied.
        data_options: the data as the user or the checkpoint describes it.
        data: the loss.
        test: the same loss on test data; None where none was named.
    """

    opened: CheckpointNetwork
    choice: ParameterChoice
    data_options: Data
    data: LossOnData
    test: LossOnData | None = None


def open_inputs(
    checkpoint: Path | None, source: CheckpointSource, data: Data, options: MeasureOptions, reporter: Reporter = SILENT
) -> OpenedInputs:
    """Read a checkpoint and draw the batches.

    Args:
        checkpoint: a file or ``sample:NAME``; None for the embedded sample.
        source: which of its weights are taken, and which network they belong to.
        data: the loss.
        options: the parameters that are varied.
        reporter: told what the user should know.

    Raises:
        BnsharpError: whatever does not fit, with its remedy.
    """
    opened = _open_checkpoint(checkpoint_path(checkpoint), source, reporter)
    choice = choose_parameters(opened.module, options.parameters)
    measured, test = _open_data(opened, data, reporter)
    return OpenedInputs(opened, choice, data, measured, test)


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


def _open_data(opened: CheckpointNetwork, data: Data, reporter: Reporter) -> tuple[LossOnData, LossOnData | None]:
    """The batches as the network gets them, with their loss; and those of the test data, if there is any."""
    data, metadata = _known_data(data, opened.checkpoint, reporter), opened.checkpoint.metadata
    if is_text(data.data):
        return drawn_text(opened, data, reporter)
    if data.context is not None:
        remedy = f"Leave {named('context')} out."
        raise UsageError.of("context", "nothing, as the data are no text", data.context, remedy)
    preprocessing, origin = choose_preprocessing(metadata, opened.identity, opened.module, overridden(data))
    if origin:
        reporter.notice(origin)
    criterion = open_criterion(data.loss, _entries(metadata.get("training")).get("loss"))
    adapt(opened.module, criterion.tensor_only, data.output_key, "output_key")
    measured = drawn_data(opened, data, criterion, (preprocessing, origin), reporter)
    test = None if data.test_data is None else drawn_test_data(opened, data, measured, origin, reporter)
    return measured, test


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


def _entries(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
