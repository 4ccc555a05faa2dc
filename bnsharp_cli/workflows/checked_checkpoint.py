"""What the checks of one checkpoint found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.decision.outcome import Outcome
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.report.json_document import blocks_entry
from bnsharp_cli.workflows.gate import Check
from bnsharp_cli.workflows.measured_network import MeasuredNetwork, Spelling

COMMAND = "check"


@dataclass(frozen=True)
class CheckedCheckpoint:
    """What the checks of one checkpoint found.

    Attributes:
        network: the network on its data.
        blocks: its scale-invariant rows.
        options: the options of the measures, at the first radius.
        checks: in their order.
        measured: the measures that have a limit.
        key: of the result; see :func:`~bnsharp_cli.workflows.kept_results.result_key`.
        seconds: how long it took, in seconds.
        fail_on: ``fail``, or ``inconclusive``.
    """

    network: MeasuredNetwork
    blocks: Blocks
    options: MeasureOptions
    checks: tuple[Check, ...]
    measured: Measurements
    key: str
    seconds: float
    fail_on: str = "fail"

    @property
    def outcome(self) -> Outcome:
        """How all checks end: a failure counts before what is inconclusive."""
        every = {check.outcome for check in self.checks}
        return next((one for one in (Outcome.FAIL, Outcome.INCONCLUSIVE) if one in every), Outcome.PASS)

    @property
    def passed(self) -> bool:
        """Whether the gate lets it through."""
        return self.outcome is Outcome.PASS or (self.outcome is Outcome.INCONCLUSIVE and self.fail_on == "fail")

    @property
    def verdict(self) -> str:
        """One line on all checks."""
        by_outcome = {one: [check.name for check in self.checks if check.outcome is one] for one in Outcome}
        failed, open_ones = by_outcome[Outcome.FAIL], by_outcome[Outcome.INCONCLUSIVE]
        if failed or open_ones:
            return "; ".join(
                f"{word}: {', '.join(names)}"
                for word, names in (("FAILED", failed), ("INCONCLUSIVE", open_ones))
                if names
            )
        ran = len(by_outcome[Outcome.PASS])
        return "PASSED: the only check" if ran == 1 else f"PASSED: all {ran} checks"

    def document(self, spelling: Spelling = str) -> dict[str, Any]:
        """Plain containers, in the JSON schema ``bnsharp/1``; sentences in it name arguments by ``spelling``."""
        return {
            **self.network.document(COMMAND, self.options.to_dict(), spelling),
            "test": self.network.test_entry(),
            "key": self.key,
            "blocks": blocks_entry(self.blocks, self.network.point),
            "measures": self.measured.to_dict(),
            "skipped": {},
            "checks": [check.to_dict(spelling) for check in self.checks],
            "verdict": {"passed": self.passed, "outcome": self.outcome.value, "sentence": self.verdict},
            "cost": self.network.cost(self.seconds),
        }
