"""Every refusal of data names the data: a file or an example where one is known, otherwise the specification."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.io.files.printable_text import escaped


class NamedDataError(DataRefusedError):
    """A refusal whose reason says which file, folder or example it is about."""


@contextmanager
def naming(spec: str) -> Iterator[None]:
    """Put the data set's specification in front of refusals that do not name their data.

    Args:
        spec: as :func:`~bnsharp_cli.io.data.open_data.open_data` takes it.

    Raises:
        NamedDataError: instead of a DataRefusedError of another kind.

    >>> with naming("npz:a.npz"):
    ...     raise DataRefusedError("There are no examples in it.", "Use data with examples.")
    Traceback (most recent call last):
    bnsharp_cli.io.data.naming.NamedDataError: npz:a.npz: There are no examples in it. Use data with examples.
    """
    try:
        yield
    except NamedDataError:
        raise
    except DataRefusedError as error:
        raise NamedDataError(
            f"{escaped(spec)}: {error.marked_reason}",
            error.marked_remedy,
            **error.fields,
        ) from error
