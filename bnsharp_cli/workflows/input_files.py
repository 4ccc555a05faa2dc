"""What a command reads is never written over: files that its arguments name to read, by whatever name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.data.forms import DATA_KINDS
from bnsharp_cli.io.files.printable_text import shown_path

_READ_OF_A_CHECKPOINT = ("config.json", "tokenizer.json", ".index.json", ".safetensors", ".bin", ".distcp", ".metadata")
"""How the names of files end that are read where a checkpoint is a folder."""
_CODE = ".py"
RESULT_ENDINGS = (".json", ".jsonl")
"""How the names of files in a folder end that may be results."""
_NAMED_BY_PATH = (*DATA_KINDS, "tensorboard")


def input_files(checkpoints: Iterable[Path], *specs: str | None) -> list[Path]:
    """The files that are read, and the folders of data.

    Args:
        checkpoints: files, or folders of which the weights are read.
        *specs: what names data, a network or a loss; None for what is not named.

    >>> input_files([Path("a.pt")], "mine.py:net", "npz:b.npz", "mse", None)
    [PosixPath('a.pt'), PosixPath('mine.py'), PosixPath('b.npz')]
    """
    named = [path for checkpoint in checkpoints for path in _of_checkpoint(checkpoint)]
    for spec in specs:
        kind, _, rest = (spec or "").partition(":")
        if kind in DATA_KINDS:
            named.append(Path(rest))
        elif (code := (spec or "").rpartition(":")[0]).endswith(_CODE):
            named.append(Path(code))
    return named


def results_in(folders: Iterable[Path]) -> list[Path]:
    """The files of folders that may be results; none of what is no folder."""
    return [path for folder in folders for path in _ending(folder, RESULT_ENDINGS)]


def located(folder: Path, spec: str) -> str:
    """What names data, a network, a loss or a tracker, in which a path is meant from ``folder`` on, as it is from here.

    >>> located(Path("ci"), "mine.py:net"), located(Path("ci"), "folder:images"), located(Path("ci"), "digits")
    ('ci/mine.py:net', 'folder:ci/images', 'digits')
    """
    kind, colon, rest = spec.partition(":")
    if colon and kind in _NAMED_BY_PATH:
        return f"{kind}:{folder / rest}"
    code, _, name = spec.rpartition(":")
    return f"{folder / code}:{name}" if code.endswith(_CODE) else spec


def require_no_input(path: Path, argument: str, inputs: Sequence[Path]) -> None:
    """Refuse to write over what is read.

    Args:
        path: that is to be written.
        argument: that names it, for the error.
        inputs: from :func:`input_files`.

    Raises:
        UsageError: it is one of them, by this name or by another, or lies in a class of a folder of images.
    """
    for one in inputs:
        if _is_same(path, one) or _is_example_of(path, one):
            raise UsageError(
                f"Cannot write {shown_path(path)}: this command reads it.",
                "Name another file.",
                argument=argument,
                expected="a file that this command does not read",
                found=str(path),
            )


def _of_checkpoint(checkpoint: Path) -> list[Path]:
    try:
        return _ending(checkpoint, _READ_OF_A_CHECKPOINT) if checkpoint.is_dir() else [checkpoint]
    except OSError:  # no name can be so long; so it cannot be read either
        return []


def _ending(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.name.endswith(endings)]
    except (OSError, ValueError):  # it is no folder, or may not be listed; so it cannot be read either
        return []


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):  # one of them is not there, so that nothing is written over
        return False


def _is_example_of(path: Path, folder: Path) -> bool:
    try:
        inside = path.resolve(strict=True).relative_to(folder.resolve(strict=True))
    except (OSError, ValueError):  # it is not there, or it is elsewhere
        return False
    return len(inside.parts) > 1
