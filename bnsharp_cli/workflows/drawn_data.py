"""Draws the batches of a split as a network gets them: the data that is measured on, and test data beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bnsharp_cli.errors import DataRefusedError, UsageError, named
from bnsharp_cli.io.data.batches import DrawnBatches, draw_batches
from bnsharp_cli.io.data.criteria import NamedCriterion
from bnsharp_cli.io.data.library_preprocessing import require_modest, with_librarys_resizing
from bnsharp_cli.io.data.naming import naming
from bnsharp_cli.io.data.open_data import open_data, split_for_testing
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.preprocessing_override import PreprocessingOverride
from bnsharp_cli.io.data.splits import Split, UnequalSizesError
from bnsharp_cli.io.data.value_range import require_such_numbers
from bnsharp_cli.io.files.printable_text import one_line
from bnsharp_cli.io.networks.network_identity import OPTION
from bnsharp_cli.workflows.measured_network import CheckpointNetwork, LossOnData
from bnsharp_cli.workflows.options import Data
from bnsharp_cli.workflows.reporter import Reporter
from bnsharp_cli.workflows.whole_numbers import wants_whole_numbers


def drawn_data(
    opened: CheckpointNetwork,
    data: Data,
    criterion: NamedCriterion,
    known: tuple[Preprocessing, str],
    reporter: Reporter,
    *,
    all_of_few: bool = False,
) -> LossOnData:
    """The batches of a split.

    Args:
        opened: the network.
        data: which data.
        criterion: the loss of a batch.
        known: what is done to the images, and which library it is from; see ``require_such_numbers``.
        reporter: told what the user should know.
        all_of_few: whether all are taken, the last incomplete batch too, where there are fewer than asked for.

    Raises:
        BnsharpError: whatever does not fit, with its remedy.
    """
    spec, override = str(data.data), overridden(data)
    with naming(spec):
        split = open_data(spec, data.split, data.data_root, data.download, reporter.activity, classes=data.classes)
        for notice in getattr(split, "notices", ()):
            reporter.notice(notice)
        if not override.sized and _is_stated_by_file(opened):
            require_modest(known[0], split)
        chosen = (known[0], override, known[1])
        batches, preprocessing, notices = _drawn(split, opened, data, chosen, all_of_few, reporter)
    for notice in (*notices, batches.notice):
        if notice:
            reporter.notice(f"test data: {notice}" if all_of_few else notice)
    classes = tuple(getattr(split, "classes", ()))
    return LossOnData(spec, data.split, batches, preprocessing, criterion, classes)


def drawn_test_data(
    opened: CheckpointNetwork, data: Data, measured: LossOnData, origin: str, reporter: Reporter
) -> LossOnData:
    """The batches of the test data, as many samples as are measured on or all that there are.

    Args:
        opened: the network.
        data: as the user describes it, with test data.
        measured: the data that is measured on.
        origin: which library the preprocessing is from.
        reporter: told what the user should know.

    Raises:
        UsageError: the test data is the data that is measured on.
        BnsharpError: whatever does not fit, with its remedy.
    """
    with of_test_data():
        split = split_for_testing(str(data.test_data))
        wanted = replace(data, data=data.test_data, split=split)
        if split == measured.split and _is_same(wanted.data or "", measured.spec):
            raise _same_data(measured)
        known = (measured.preprocessing, origin)
        found = drawn_data(opened, wanted, measured.criterion, known, reporter, all_of_few=True)
    if found.batches.sha256 == measured.batches.sha256:
        raise _same_data(measured)
    if found.classes and measured.classes and found.classes != measured.classes:
        raise DataRefusedError(
            f"The class folders of {one_line(found.spec)} are not those of {one_line(measured.spec)}.",
            "Name the folders of both by the same classes.",
            argument="test_data",
            expected="the same class folders",
            found=", ".join(found.classes[:10]),
        )
    return found


@contextmanager
def of_test_data() -> Iterator[None]:
    """Refusals of data name the test data."""
    try:
        yield
    except (UsageError, DataRefusedError) as error:
        raise error.renamed("data", "test_data") from error


def require_no_measured_data(test: LossOnData, measured: LossOnData) -> None:
    """Refuse test data that is measured on.

    Raises:
        UsageError: it is the same file, or a copy of it.
    """
    if _is_same(test.spec, measured.spec) or test.batches.sha256 == measured.batches.sha256:
        raise _same_data(measured)


def overridden(data: Data) -> PreprocessingOverride:
    """What the user says of preprocessing."""
    return PreprocessingOverride(data.image_size, data.mean, data.std, data.resize, data.crop)


def _is_same(spec: str, other: str) -> bool:
    """Whether two specifications name one source, files by whatever path."""
    kinds, places = zip(*(one.partition(":")[::2] for one in (spec, other)), strict=True)
    if spec == other or kinds[0] != kinds[1]:
        return spec == other
    try:
        return Path(places[0]).samefile(places[1])
    except (OSError, ValueError):  # functions, or no such file, which opening it tells
        return False


def _same_data(measured: LossOnData) -> UsageError:
    return UsageError(
        f"{named('test_data')} is the data that is measured on, {one_line(measured.spec)} ({measured.split}).",
        f"Name data that the network was not trained on, or measure with {named('split')} train.",
        argument="test_data",
        expected="other data than is measured on",
        found=measured.spec,
    )


def _drawn(
    split: Split,
    opened: CheckpointNetwork,
    data: Data,
    chosen: tuple[Preprocessing, PreprocessingOverride, str],
    all_of_few: bool,
    reporter: Reporter,
) -> tuple[DrawnBatches, Preprocessing, tuple[str, ...]]:
    """The batches, what was done to their images, and what the user must know of it.

    Images of several sizes are resized as the network's library does where nobody has said otherwise.
    """
    preprocessing, override, origin = chosen
    samples = None if all_of_few and (data.samples or 0) >= len(split) else data.samples

    def draw(done: Preprocessing) -> DrawnBatches:
        whole = len(split) > 0 and wants_whole_numbers(opened.module, split, done)
        chosen = (split, samples, data.batch_size, data.seed, done)
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
