"""docs/measures/NAME.md: what the registry says of each measure, above prose that is kept as it is."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from bnsharp_cli.measurement.measures.measure_entry import MeasureEntry
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.survival import Rescaling, rows_of
from bnsharp_cli.option_records import OptionRecord, declared_fields
from tests.documents import ROOT

FOLDER = ROOT / "docs" / "measures"
RECORD = re.compile(r"(<!-- record -->\n)(.*?)(<!-- end of record -->\n)", re.DOTALL)
SECTIONS = ("How to read it", "When it misleads")
"""What the prose of a page has at least."""
WIDTH = 120
NO_OPTIONS = "none of its own"
_SHARP = {True: "A large value is sharp.", False: "**A large value is flat.**", None: "A control, no sharpness."}
_PICTURE = """\
![{name} of one network and of copies that compute the same, and of four networks]({name}.svg)

*Left: a trained LeNet-BN (circle) and copies of it that compute the same (dots); the value of a copy divided by its
own. Right: four LeNet-BN with their errors, trained with small and large batches.*
"""


def measure_page(name: str) -> str:
    """The page of one measure: the prose that is there, and the record of today."""
    text = (FOLDER / f"{name}.md").read_text()
    return RECORD.sub(lambda match: match[1] + "\n".join(_record(MEASURES[name])) + "\n" + match[3], text)


def measure_table() -> Iterator[str]:
    """A row for each measure, with a link to its page."""
    yield "| measure | what it is | sharp is | unchanged by |"
    yield "| --- | --- | --- | --- |"
    for entry in MEASURES.values():
        sharp = {True: "large", False: "small", None: "no sharpness"}[entry.large_is_sharp]
        summary = entry.summary.replace("|", "\\|")
        survived = ", ".join(rows_of(entry.name).get(entry.name, ())) or "none"
        yield f"| [{entry.name}](measures/{entry.name}.md) | {summary} | {sharp} | {survived} |"


def _record(entry: MeasureEntry) -> Iterator[str]:
    yield "<!-- Written by python -m tests.generated from the registry of measures. -->\n"
    yield f"{entry.summary[0].upper()}{entry.summary[1:]}. {_SHARP[entry.large_is_sharp]}\n"
    yield f"```text\n{textwrap.fill(entry.formula, 100, break_on_hyphens=False)}\n```\n"
    yield _PICTURE.format(name=entry.name)
    facts = {
        "command": f'`bnsharp measure model.pt --measure {entry.name}`; in Python `name="{entry.name}"`',
        "under rescaling": entry.invariance,
        "unchanged by": _survived(entry.name),
        **({"p": "finite"} if entry.finite_power_only else {}),
        "radius": "`--delta`" if entry.has_radius else "none; `--delta` does not change it",
        "cost": entry.cost,
        "options": options_of_record(entry.options),
        "networks of different architectures": "may be compared" if entry.across_architectures else "are not compared",
        **({"needs": f"`pip install '.[{entry.extra}]'`"} if entry.extra else {}),
        "source": entry.source,
    }
    for fact, words in facts.items():
        yield textwrap.fill(f"- {fact}: {words}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    yield "\n[The rescalings](../invariance.md#which-numbers-belong-to-the-function) change nothing that it computes."


def _survived(measure: str) -> str:
    """The rescalings that leave a measure as it is, as `bnsharp measures` names them."""
    rows = {name: ", ".join(own) or "none" for name, own in rows_of(measure).items()}
    return rows.get(measure, "") if len(rows) < 2 else "; ".join(f"{name}: {own}" for name, own in rows.items())


def options_of_record(record: type[OptionRecord] | None) -> str:
    """The flags that a record declares.

    >>> options_of_record(None)
    'none of its own'
    """
    flags = [f"`--{one.flag}`" for one in declared_fields(record) if not one.declared.python_only] if record else []
    return ", ".join(flags) or NO_OPTIONS


def rescalings() -> Iterator[str]:
    """What each rescaling multiplies."""
    yield from (f"- {rescaling}: {rescaling.meaning}" for rescaling in Rescaling)
