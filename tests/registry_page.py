"""docs/measures.md: everything that has a name on the command line, as the registries describe it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from bnsharp_cli.core.search_rules import RULES
from bnsharp_cli.io.checkpoints.checkpoint import CHECKPOINT_FORMATS
from bnsharp_cli.measurement.measures.options import DEFAULT_RULE
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.survival import Rescaling, rows_of
from bnsharp_cli.option_records import OptionRecord, declared_fields
from bnsharp_cli.training.registry import TRAINING_RULES

WIDTH = 100
HEAD = """\
# What can be measured, and how

Measures, search rules, training rules and checkpoint formats, as the program's own lists describe them.
`python -m tests.generated` writes this page anew. [meaning.md](meaning.md) explains the symbols and what the numbers
mean, [contributing.md](contributing.md) how to add an entry.
"""
NO_OPTIONS = "none of its own"


def registry_page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_measures(), *_search_rules(), *_training_rules(), *_formats()]).rstrip() + "\n"


def _measures() -> Iterator[str]:
    yield "## Measures\n"
    yield _paragraph("`bnsharp measure --measure NAME`, or `name=` in Python. A cost counts passes over all samples.")
    yield _paragraph("What leaves a measure unchanged was measured; none of it changes what a network computes:")
    yield from (f"- {rescaling}: {rescaling.meaning}" for rescaling in Rescaling)
    yield ""
    for entry in MEASURES.values():
        yield from _entry(
            entry.name,
            entry.summary,
            {
                "definition": f"`{entry.formula}`",
                "under rescaling": entry.invariance,
                "unchanged by": _survived(entry.name),
                **({"p": "finite"} if entry.finite_power_only else {}),
                "cost": entry.cost,
                "options": _options(entry.options),
                "source": entry.source,
            },
        )


def _survived(measure: str) -> str:
    """The rescalings that leave a measure as it is, as `bnsharp measures` names them."""
    rows = {name: ", ".join(own) or "none" for name, own in rows_of(measure).items()}
    return rows.get(measure, "") if len(rows) < 2 else "; ".join(f"{name}: {own}" for name, own in rows.items())


def _search_rules() -> Iterator[str]:
    yield "## Search rules\n"
    yield _paragraph("`--search NAME`: how the sharpest direction is searched.")
    for rule in RULES.values():
        steps = f"{'at most ' if rule.adaptive else ''}{rule.iterations}"
        with_restarts = f", or {rule.restart_iterations} with restarts" if rule.restart_iterations else ""
        default = "; the default" if rule.name == DEFAULT_RULE else ""
        facts = {
            "steps": steps + with_restarts,
            **({"p": f"finite, because of {rule.finite_power_by}"} if rule.finite_power_by else {}),
            "options": _options(rule),
        }
        yield from _entry(rule.name, rule.summary + default, facts)


def _training_rules() -> Iterator[str]:
    yield "## Training rules\n"
    yield _paragraph("`bnsharp train --rule NAME`. A cost is that of one step; see [training.md](training.md).")
    for entry in TRAINING_RULES.values():
        facts = {"cost": entry.cost, "options": _options(entry.options), "source": entry.source}
        yield from _entry(entry.name, entry.summary, facts)


def _formats() -> Iterator[str]:
    yield "## Checkpoint formats\n"
    yield _paragraph("Recognised by content, in this order; see [checkpoints.md](checkpoints.md).")
    yield "| format | what it is |"
    yield "| --- | --- |"
    for one in CHECKPOINT_FORMATS:
        yield f"| `{one.name}` | {one.help} |"


def _entry(name: str, summary: str, facts: dict[str, str]) -> Iterator[str]:
    yield f"### {name}\n"
    yield _paragraph(f"{summary}.")
    for fact, words in facts.items():
        yield textwrap.fill(f"- {fact}: {words}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    yield ""


def _options(record: type[OptionRecord] | None) -> str:
    flags = [f"`--{one.flag}`" for one in declared_fields(record) if not one.declared.python_only] if record else []
    return ", ".join(flags) or NO_OPTIONS


def _paragraph(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False) + "\n"
