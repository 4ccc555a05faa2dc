"""The error family: every failure a user can cause is one line of reason and one of remedy."""

from __future__ import annotations


class BnsharpError(Exception):
    """A failure with an exit code, a reason and a remedy.

    Attributes:
        exit_code: what the command exits with.
        reason: what was expected and what was found.
        remedy: what the user can do about it.
    """

    exit_code: int = 4

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} {remedy}")
        self.reason = reason
        self.remedy = remedy


class UsageError(BnsharpError):
    """An option or argument that cannot be meant (exit 2)."""

    exit_code = 2


class CheckpointRefusedError(BnsharpError):
    """A checkpoint that cannot or must not be opened (exit 3)."""

    exit_code = 3


class DataRefusedError(BnsharpError):
    """A data set that cannot be used (exit 3)."""

    exit_code = 3


class NotMeasurableError(BnsharpError):
    """A computed value is not finite, or below the rounding floor where more is needed (exit 4)."""

    exit_code = 4


class SharedError(BnsharpError):
    """What one of several processes failed with, known to all of them (exit as that one)."""

    def __init__(self, reason: str, remedy: str, exit_code: int) -> None:
        super().__init__(reason, remedy)
        self.exit_code = exit_code


class LostProcessError(BnsharpError):
    """One of several processes ended or stopped answering (exit 4)."""

    exit_code = 4


class InternalError(BnsharpError):
    """A failure that nobody foresaw (exit 4)."""

    exit_code = 4


def described(error: Exception) -> BnsharpError:
    """Any failure as one of the family."""
    if isinstance(error, BnsharpError):
        return error
    if isinstance(error, MemoryError):
        return NotMeasurableError("Out of memory.", "Lower --batch-size or --samples.")
    first = (str(error).splitlines() or [""])[0]
    return InternalError(f"Internal error: {type(error).__name__}: {first}", "Run again with --debug and report it.")
