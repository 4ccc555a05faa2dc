"""docs/measures.md: everything that has a name on the command line, as the registries describe it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from bnsharp_cli.core.search_rules import RULES
from bnsharp_cli.io.checkpoints.checkpoint import CHECKPOINT_FORMATS
from bnsharp_cli.measurement.measures.options import DEFAULT_RULE
from bnsharp_cli.training.registry import TRAINING_RULES
from tests.measure_pages import measure_table, options_of_record, rescalings

WIDTH = 100
HEAD = """\
# What can be measured, and how

Measures, search rules, training rules and checkpoint formats, as the program's own lists describe them.
`python -m tests.generated` writes this page anew. [meaning.md](meaning.md) explains the symbols and what the numbers
mean, [own-measure.md](own-measure.md) and
[contributing.md](contributing.md) how to add an entry.
"""


def registry_page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_measures(), *_search_rules(), *_training_rules(), *_formats()]).rstrip() + "\n"


def _measures() -> Iterator[str]:
    yield "## Measures\n"
    yield _paragraph(
        "`bnsharp measure --measure NAME`, or `name=` in Python. The page of a measure has its definition, a "
        "picture, its cost, its source, and when it misleads."
    )
    yield from measure_table()
    yield ""
    yield _paragraph(
        "`--measure all` computes all measures that exist for a network and its loss, and says why others do not. "
        "`relative-flatness`, `loss`, `margin` and `entropy` share their passes, one for the values and one to four "
        "that show how they round. Their sampling error is the standard error over the samples, where each can be "
        "told apart, and not given for `--samples all`."
    )
    yield _paragraph("What leaves a measure unchanged was measured; none of it changes what a network computes:")
    yield from rescalings()
    yield ""


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
            "options": options_of_record(rule),
        }
        yield from _entry(rule.name, rule.summary + default, facts)


def _training_rules() -> Iterator[str]:
    yield "## Training rules\n"
    yield _paragraph("`bnsharp train --rule NAME`. A cost is that of one step; see [training.md](training.md).")
    for entry in TRAINING_RULES.values():
        facts = {"cost": entry.cost, "options": options_of_record(entry.options), "source": entry.source}
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


def _paragraph(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False) + "\n"
