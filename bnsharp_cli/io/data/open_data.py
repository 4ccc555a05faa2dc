"""Opening a split of a data set by the specification that a user writes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bnsharp_cli.errors import UsageError, named, shown
from bnsharp_cli.io.data.archives import is_undivided_archive, open_archive
from bnsharp_cli.io.data.class_folders import is_undivided_folder
from bnsharp_cli.io.data.forms import is_text
from bnsharp_cli.io.data.images import open_image_folder
from bnsharp_cli.io.data.reading_progress import ReadingProgress, silent
from bnsharp_cli.io.data.sources import TORCHVISION, open_digits, open_factory, open_torchvision
from bnsharp_cli.io.data.splits import Split
from bnsharp_cli.io.data.unknown_data import require_known_form, unknown


def split_for_testing(spec: str) -> Literal["train", "test"]:
    """``test``; or ``train`` for a text, a folder or an archive that is not divided, where that stands for all."""
    kind, _, argument = spec.partition(":")
    if is_text(spec):
        return "train"
    undivided = {"folder": is_undivided_folder, "npz": is_undivided_archive}
    return "train" if argument and kind in undivided and undivided[kind](Path(argument)) else "test"


def open_data(
    spec: str,
    split: str = "train",
    root: Path | None = None,
    download: bool = False,
    progress: ReadingProgress = silent,
    *,
    classes: str | None = None,
) -> Split:
    """Open a data set by its specification.

    Args:
        spec: one of ``ALL_DATA_FORMS``.
        split: ``train`` or ``test``.
        root: the folder of torchvision's data sets.
        download: allow torchvision to fetch a data set that is not there.
        progress: told now and then how far the search of a large folder is.
        classes: of a folder, one of ``CLASS_CHOICES`` or None.

    Raises:
        UsageError: an unknown specification.
        DataRefusedError: data that cannot be read.

    >>> len(open_data("digits", "test"))
    360
    """
    require_known_form(spec)
    kind, _, argument = spec.partition(":")
    if spec == "digits":
        return open_digits(split)
    if kind == "folder" and argument:
        return open_image_folder(Path(argument), split, progress, classes=classes)
    if kind == "npz" and argument:
        return open_archive(Path(argument), split)
    if is_text(spec):
        raise UsageError(
            f"{named('data')} {shown(spec)}: only networks with a tokenizer are measured on text, and none is trained.",
            "Measure the directory of a language model or of a text classifier.",
            argument="data",
            expected="images or arrays",
            found=spec,
        )
    if spec in TORCHVISION:
        return open_torchvision(spec, split, root, download)
    if argument:
        return open_factory(spec, split)
    raise unknown(spec)
