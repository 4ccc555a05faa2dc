"""Checks for other programs: what is printed and written beside text and JSON documents."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bnsharp_cli.cli import results
from bnsharp_cli.cli.spelling import for_the_command
from bnsharp_cli.cli.streams import say
from bnsharp_cli.errors import BnsharpError, LostProcessError, described, shown
from bnsharp_cli.io.files.regular_files import NotRegularFileError, reason_of
from bnsharp_cli.report.check_formats import (
    ERROR,
    FORMATS_OF_CHECKS,
    INCONCLUSIVE,
    CheckReport,
    ReportedCheck,
    as_github,
    fitting,
)
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.check_output import CheckOutput
from bnsharp_cli.workflows.output_files import OutputFile

if TYPE_CHECKING:
    from bnsharp_cli.workflows.checked_checkpoint import CheckedCheckpoint

_SUMMARY = "GITHUB_STEP_SUMMARY"
_MOST = 1_000_000
"""Bytes of a step's summary; GitHub shows none that has more than a mebibyte."""

_CHECKED = "check"
"""The test that stands for a checkpoint that could not be checked."""

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READABLE = 0o666


class CheckReports:
    """The reports of all checkpoints, which are printed and written in the end, also where one could not be checked.

    Args:
        output: what is asked for.
    """

    def __init__(self, output: CheckOutput) -> None:
        self._output = output
        self._reports: list[CheckReport] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Print and write, unless the command was interrupted; a failure of the command is what counts then."""
        if error is None:
            self._deliver()
        elif isinstance(error, Exception) and not isinstance(error, LostProcessError) and self._reports:
            with suppress(BnsharpError):
                self._deliver()

    @property
    def passed(self) -> bool:
        """Whether nothing keeps the gate shut."""
        return not any(report.fails(check) for report in self._reports for check in report.checks)

    @property
    def files(self) -> list[OutputFile]:
        """What is written here, and not with the documents."""
        path = self._output.output
        return [] if path is None or self._output.form_of_file not in FORMATS_OF_CHECKS else [("output", path)]

    def text(self, show: Callable[[], None]) -> None:
        """Print text where it is asked for; for GitHub so that no line of it is a command."""
        if self._output.form == "text":
            show()
        elif self._output.form == "github":
            token = secrets.token_hex(16)
            results.print_text(f"::stop-commands::{token}")
            show()
            results.print_text(f"::{token}::")

    def add(self, checkpoint: Path, checked: CheckedCheckpoint) -> None:
        """Keep what the checks of a checkpoint found."""
        checks = [
            ReportedCheck(check.name, check.outcome.value, for_the_command(check.sentence)) for check in checked.checks
        ]
        self._reports.append(
            CheckReport(str(checkpoint), checks, checked.verdict, checked.seconds, checked.fail_on == INCONCLUSIVE)
        )

    @contextmanager
    def of(self, checkpoint: Path) -> Iterator[None]:
        """Keep why a checkpoint cannot be checked, where that is so."""
        try:
            yield
        except LostProcessError:
            raise
        except Exception as error:
            self._fail(checkpoint, described(error))
            raise

    def _fail(self, checkpoint: Path, failure: BnsharpError) -> None:
        about = "" if failure.path in (None, failure.subject) else f"{shown(failure.path)}: "
        sentence = about + for_the_command(f"{failure.marked_reason} {failure.marked_remedy}")
        checks = [ReportedCheck(_CHECKED, ERROR, sentence)]
        self._reports.append(CheckReport(str(checkpoint), checks, f"ERROR: exit code {failure.exit_code}", 0.0))

    def _deliver(self) -> None:
        for _, path in self.files:
            results.write_text(path, FORMATS_OF_CHECKS[self._output.form_of_file](self._reports))
        if self._output.form in FORMATS_OF_CHECKS:
            with results.on_stdout():
                results.print_text(FORMATS_OF_CHECKS[self._output.form](self._reports).removesuffix("\n"))
        if self._output.form == "github":
            with results.on_stdout():
                results.print_text(as_github(self._reports))
            _append_summary(self._reports)


def _append_summary(reports: Sequence[CheckReport]) -> None:
    """Add the tables to the summary of the step of a workflow, if this runs in one."""
    path = os.environ.get(_SUMMARY)
    if not path or not torchrun.is_first():
        return
    try:
        with open(os.open(path, _APPEND, _READABLE), "ab") as file:  # noqa: PTH123  # of a descriptor
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise NotRegularFileError
            file.write(fitting(reports, _MOST).encode())
    except (OSError, ValueError) as error:
        say(f"bnsharp: no step summary, since {shown(path)} cannot be written to: {reason_of(error)}")
