"""The trained networks that travel with the package; nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path

from bnsharp_cli.errors import UsageError, shown

EMBEDDED = "digits-small-batch"
_PREFIX = "sample:"


def embedded_checkpoint(name: str = EMBEDDED) -> Path:
    """A sample checkpoint that travels with the package (beside it in a source checkout).

    Raises:
        UsageError: no such sample.
    """
    for folder in _folders():
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
    return sorted({path.stem for folder in _folders() for path in folder.glob("*.pt")})


def checkpoint_path(given: Path | None) -> Path:
    """The file that an argument means: ``sample:NAME`` is one of the samples, None the embedded one.

    Raises:
        UsageError: no such sample.
    """
    if given is None:
        return embedded_checkpoint()
    text = str(given)
    return embedded_checkpoint(text.removeprefix(_PREFIX)) if text.startswith(_PREFIX) else given


def offered_checkpoints(incomplete: str) -> list[str]:
    """Samples and files whose names begin like this, for completion in a shell.

    Nothing for an empty word, so that the shell offers its own list of files.
    """
    if not incomplete:
        return []
    samples = [f"{_PREFIX}{name}" for name in sample_names()]
    given = Path(incomplete)
    folder, start = (given, "") if incomplete.endswith("/") else (given.parent, given.name)
    files = sorted(path for path in folder.glob(f"{start}*") if path.exists())
    return [
        *(sample for sample in samples if sample.startswith(incomplete)),
        *(f"{path}/" if path.is_dir() else str(path) for path in files),
    ]


def _folders() -> list[Path]:
    package = Path(__file__).resolve().parents[1]
    return [package / "sample_checkpoints", package.parent / "sample_checkpoints"]
