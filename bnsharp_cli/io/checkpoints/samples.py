"""The trained networks that travel with the package; nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path

from bnsharp_cli.errors import UsageError, shown
from bnsharp_cli.io.files.sample_folders import SAMPLE_FOLDERS, SAMPLE_PREFIX, sample_title

EMBEDDED = "digits-small-batch"


def embedded_checkpoint(name: str = EMBEDDED) -> Path:
    """A sample checkpoint that travels with the package (beside it in a source checkout).

    Raises:
        UsageError: no such sample.
    """
    for folder in SAMPLE_FOLDERS:
        if (folder / f"{name}.pt").is_file():
            return folder / f"{name}.pt"
    samples = ", ".join(sample_names())
    raise UsageError(
        f"There is no sample checkpoint '{shown(name)}'.",
        f"Samples: {samples}.",
        argument="checkpoint",
        expected=f"one of {samples}",
        found=name,
    )


def sample_names() -> list[str]:
    """The names of all samples.

    >>> EMBEDDED in sample_names()
    True
    """
    return sorted({path.stem for folder in SAMPLE_FOLDERS for path in folder.glob("*.pt")})


def checkpoint_path(given: Path | None) -> Path:
    """The file that an argument means: ``sample:NAME`` is one of the samples, None the embedded one.

    Raises:
        UsageError: no such sample.
    """
    if given is None:
        return embedded_checkpoint()
    text = str(given)
    return embedded_checkpoint(text.removeprefix(SAMPLE_PREFIX)) if text.startswith(SAMPLE_PREFIX) else given


def checkpoint_title(path: Path) -> str:
    """What a checkpoint is called in results: ``sample:NAME`` for a sample, else the name of its file.

    >>> checkpoint_title(embedded_checkpoint()), checkpoint_title(Path("runs/net.pt"))
    ('sample:digits-small-batch', 'net.pt')
    """
    return sample_title(path) or path.name
