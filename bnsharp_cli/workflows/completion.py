"""What a shell offers for networks, data, losses and checkpoints; nothing heavy is imported.

Every function takes the beginning of a word and answers with whole words that begin so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from bnsharp_cli.io.checkpoints.samples import sample_names
from bnsharp_cli.io.data.forms import DATA_KINDS, DATA_NAMES, LOSS_NAMES
from bnsharp_cli.io.files.python_files import functions_in
from bnsharp_cli.io.files.sample_folders import SAMPLE_PREFIX
from bnsharp_cli.io.networks.forms import ARCHITECTURE_NAMES, LIBRARIES
from bnsharp_cli.io.networks.index_file import indexed_names

_DATA_KINDS = tuple(f"{kind}:" for kind in DATA_KINDS)
_CODE = ".py"
_FILES = {"npz:": (".npz",), "text:": (".txt", ".jsonl")}


def offered_networks(beginning: str) -> list[str]:
    """The paper's networks; those of a library, once it is clear which; functions in files of Python."""
    libraries = [f"{library}:" for library in LIBRARIES]
    meant = [one for one in libraries if beginning and (one.startswith(beginning) or beginning.startswith(one))]
    named = [name for name in indexed_names() if name.startswith(meant[0])] if len(meant) == 1 else libraries
    return _beginning_so(beginning, ARCHITECTURE_NAMES, named, _functions(beginning))


def offered_data(beginning: str) -> list[str]:
    """Named data sets; folders and archives, behind their kinds; functions in files of Python."""
    kinds = [kind for kind in _DATA_KINDS if kind != beginning]
    begun = [kind for kind in _DATA_KINDS if beginning and (kind.startswith(beginning) or beginning.startswith(kind))]
    paths = (f"{kind}{path}" for kind in begun for path in _data_paths(kind, beginning[len(kind) :]))
    return _beginning_so(beginning, DATA_NAMES, kinds, paths, _functions(beginning))


def offered_losses(beginning: str) -> list[str]:
    """Named losses, and functions in files of Python."""
    return _beginning_so(beginning, LOSS_NAMES, _functions(beginning))


def offered_checkpoints(beginning: str) -> list[str]:
    """Samples and files; nothing for an empty word, so that the shell offers its own list of files."""
    if not beginning:
        return []
    samples = (f"{SAMPLE_PREFIX}{name}" for name in sample_names())
    return _beginning_so(beginning, samples, _paths(beginning))


def _beginning_so(beginning: str, *offered: Iterable[str]) -> list[str]:
    return [word for words in offered for word in words if word.startswith(beginning)]


def _data_paths(kind: str, beginning: str) -> Iterator[str]:
    """Folders, and files of the kind of data."""
    for path in _paths(beginning):
        if path.endswith(("/", *_FILES.get(kind, ()))):
            yield path


def _functions(beginning: str) -> Iterator[str]:
    """Files of Python with what they define, and folders on the way to them."""
    file, colon, _ = beginning.rpartition(":")
    for path in [file] if colon else _paths(beginning) if beginning else []:
        yield from [path] if path.endswith("/") else (f"{path}:{function}" for function in functions_in(path))


def _paths(beginning: str) -> list[str]:
    """Files and folders whose paths begin so, folders with a slash; hidden ones if the beginning says so."""
    folder, slash, start = beginning.rpartition("/")
    try:
        found = sorted(Path(f"{folder}{slash}" or ".").iterdir())
    except (OSError, ValueError):
        return []
    seen = (path for path in found if path.name.startswith(start) and (start or path.name[0] != "."))
    return [f"{folder}{slash}{path.name}{'/' if path.is_dir() else ''}" for path in seen]
