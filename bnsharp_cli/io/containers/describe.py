"""What files hold, said by code that loads nothing of torch: the part of reading that may run in a limited process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bnsharp_cli.errors import CheckpointRefusedError, indefinite
from bnsharp_cli.io.containers.content_writer import ContentWriter, Found
from bnsharp_cli.io.containers.dangerous_names import is_dangerous
from bnsharp_cli.io.containers.description import Description, Root
from bnsharp_cli.io.containers.distributed import Shards, read_distributed
from bnsharp_cli.io.containers.distributed_tables import read_table
from bnsharp_cli.io.containers.pickle_reader import ForeignGlobalsError, ForeignObject, PickleRefusedError
from bnsharp_cli.io.containers.read_file import found_in
from bnsharp_cli.io.containers.remedies import COPY_AGAIN, DISTRIBUTED_TENSORS, SAVE_CALL, SAVE_WEIGHTS, SAVE_WHOLE
from bnsharp_cli.io.containers.stand_ins import NumpyArray
from bnsharp_cli.io.containers.tensor_layouts import TensorPlan
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError, unsound
from bnsharp_cli.io.files.printable_text import one_line, shown_path
from bnsharp_cli.io.files.regular_files import RegularFile

TABLE = ".metadata"
"""The file of a ``torch.distributed.checkpoint`` folder that says what is in the others."""

_CONVERT = "Convert it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE."
_SKIPPED = "The optimiser's state was not read."
_NAMES_SHOWN = 4


def describe_files(files: Sequence[RegularFile]) -> Description:
    """The content of files that stand each for itself.

    Raises:
        CheckpointRefusedError: with one line of reason and one of remedy.
    """
    writer = ContentWriter()
    return writer.description([_root(file, number, writer) for number, file in enumerate(files)])


def describe_folder(folder: Path, files: Sequence[RegularFile]) -> Description:
    """The content of a ``torch.distributed.checkpoint`` folder.

    Args:
        folder: for the messages.
        files: all that are in it; one is called ``TABLE``.

    Raises:
        CheckpointRefusedError: with one line of reason and one of remedy.
    """
    by_name = {file.path.name: (number, file) for number, file in enumerate(files)}
    writer = ContentWriter()
    try:
        number, file = by_name[TABLE]
        table = read_table(file)
        content, skipped = read_distributed(table, Shards(by_name, writer))
        checksum = (0, file.size, table.crc32, TABLE)
        root = Root("distributed", writer.write(Found(content, checksums=[checksum]), number), writer.write(Found({})))
    except ForeignGlobalsError as error:
        names = one_line(", ".join(error.names[:_NAMES_SHOWN]))
        raise CheckpointRefusedError(
            f"{shown_path(folder / TABLE)} holds Python objects ({names}); nothing in it was executed.",
            f"If you trust it: {_CONVERT}",
            expected="a table of contents",
            found=names,
            subject=folder / TABLE,
        ) from error
    except (PickleRefusedError, UnsoundContentError) as error:
        finding = one_line(unsound(error).finding)
        raise CheckpointRefusedError(
            f"its table of contents {finding}.", COPY_AGAIN, found=finding, path=folder
        ) from error
    return writer.description([root], [_SKIPPED] if skipped else [])


def _root(file: RegularFile, number: int, writer: ContentWriter) -> Root:
    try:
        kind, found = found_in(file)
        if isinstance(found.content, ForeignObject):
            raise ForeignGlobalsError([found.content.name])
        if not isinstance(found.content, Mapping):
            raise _no_state_dict(file, found)
        return Root(kind, writer.write(found, number), writer.write(Found(dict(found.metadata))))
    except ForeignGlobalsError as error:
        raise _foreign(file.path, error.names) from error
    except (PickleRefusedError, UnsoundContentError) as error:
        content = unsound(error)
        finding, remedy = one_line(content.finding), COPY_AGAIN if content.damaged else SAVE_WEIGHTS
        raise CheckpointRefusedError(
            f"{shown_path(file.path)} {finding}.", remedy, found=finding, subject=file.path
        ) from error


def _foreign(path: Path, names: Sequence[str]) -> CheckpointRefusedError:
    """The refusal of a file that names what would harm whoever loads it, or what cannot be left out."""
    dangerous = [name for name in names if is_dangerous(name)]
    shown = _shown(dangerous or names)
    if dangerous:
        return CheckpointRefusedError(
            f"{shown_path(path)} names {shown}, which can run programs or change files; nothing in it was executed.",
            f"Load it with nothing else either, and ask its author for the weights alone: {SAVE_CALL}.",
            expected="weights alone",
            found=shown,
            subject=path,
        )
    return CheckpointRefusedError(
        f"{shown_path(path)} holds Python objects ({shown}), not weights alone; nothing in it was executed.",
        SAVE_WHOLE if not DISTRIBUTED_TENSORS.isdisjoint(names) else SAVE_WEIGHTS,
        expected="weights alone",
        found=shown,
        subject=path,
    )


def _no_state_dict(file: RegularFile, found: Found) -> CheckpointRefusedError:
    names: Mapping[type, str] = {list: "list", tuple: "tuple", TensorPlan: "Tensor", NumpyArray: "Tensor"}
    kind = next((name for kind, name in names.items() if isinstance(found.content, kind)), type(found.content).__name__)
    return CheckpointRefusedError(
        f"{shown_path(file.path)} holds {indefinite(kind)}, expected a state_dict.",
        SAVE_WEIGHTS,
        expected="a state_dict",
        found=kind,
        subject=file.path,
    )


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(one_line(name, 80) for name in names[:_NAMES_SHOWN])
    return shown + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")
