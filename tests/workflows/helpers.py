"""What the tests of workflows share: few samples, and a reporter that remembers."""

from __future__ import annotations

from dataclasses import dataclass, field

from bnsharp_cli.errors import spelt
from bnsharp_cli.workflows.options import Data
from bnsharp_cli.workflows.reporter import Reporter

FEW = Data(samples=128, batch_size=64)


@dataclass
class Remembered(Reporter):
    """Keeps what it is told."""

    notices: list[str] = field(default_factory=list)
    activities: list[str] = field(default_factory=list)

    def notice(self, text: str) -> None:
        self.notices.append(spelt(text))

    def activity(self, text: str) -> None:
        self.activities.append(text)
