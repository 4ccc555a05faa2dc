"""What is written from the program's own declarations: ``python -m tests.generated`` writes all of it anew.

These are the help of the commands in docs/cli.md and man/bnsharp.1, the pages docs/measures.md and docs/json.md, the
records in the pages of the measures, and the keywords that type checkers see, since a checker cannot read option
records.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.option_records import OptionField, declared_fields
from bnsharp_cli.training.options import TrainingOptions
from tests.documents import ROOT, help_of
from tests.json_page import json_page
from tests.manual import MANUAL, manual
from tests.measure_pages import FOLDER, measure_page
from tests.registry_page import registry_page

COMMAND = "python -m tests.generated"
HELP = ROOT / "docs" / "cli.md"
SECTION = re.compile(r"(<!-- help: ([\w-]+) -->\n```text\n)(.*?)(```\n)", re.DOTALL)

_HEAD = f'''\
"""Written by ``{COMMAND}`` from the option records; do not edit.

{{}}
"""

from __future__ import annotations

from typing import {{}}
'''
_UNFIXED = ("delta", "partition", "seed")
"""Options that a function of the Python interface may decide itself."""


def help_page() -> str:
    """docs/cli.md: the prose that is there, and the help of today."""
    return SECTION.sub(lambda match: match[1] + help_of(match[2]) + match[4], HELP.read_text())


def measure_keywords() -> str:
    """measures/keywords.py."""
    every = MeasureOptions.flat_fields()
    shared = [one for one in every if one.name not in _UNFIXED]
    delta, partition, seed = ([one for one in every if one.name == name] for name in _UNFIXED)
    classes = [
        ("SharedKeywords", "", "The options of the measures without the radius, the partition and the seed.", shared),
        (
            "RescaleKeywords",
            "SharedKeywords",
            "What ``rescale_test`` takes: the partition is the paper's.",
            delta + seed,
        ),
        ("MeasureKeywords", "SharedKeywords", "What ``measure`` takes beside radii.", partition + seed),
    ]
    about = "Keywords of the measures for type checkers: a mistyped name or choice is a type error.\n"
    names = "Names of search rules are plain texts, because their registry is open."
    return _HEAD.format(about + names, "Literal, TypedDict") + "".join(_class(*one) for one in classes)


def sgd_keywords() -> str:
    """training/keywords.py: what a training rule takes and the options of training declare."""
    from bnsharp_cli.training.rules import TrainingRule  # torch takes seconds

    taken = inspect.signature(TrainingRule).parameters
    shared = sorted((one for one in declared_fields(TrainingOptions) if one.name in taken), key=_position(taken))
    about = "Keywords of the training rules for type checkers: a mistyped name is a type error."
    what = "What every rule passes on to :class:`~bnsharp_cli.training.rules.TrainingRule`."
    return _HEAD.format(about, "TypedDict") + _class("SgdKeywords", "", what, shared)


GENERATED: dict[Path, Callable[[], str]] = {
    ROOT / "bnsharp_cli" / "measurement" / "measures" / "keywords.py": measure_keywords,
    ROOT / "bnsharp_cli" / "training" / "keywords.py": sgd_keywords,
    ROOT / "docs" / "measures.md": registry_page,
    ROOT / "docs" / "json.md": json_page,
    HELP: help_page,
    MANUAL: manual,
    **{FOLDER / f"{name}.md": partial(measure_page, name) for name in MEASURES},
}
"""Every generated file, and what makes its text."""


def _position(names: Iterable[str]) -> Callable[[OptionField], int]:
    ordered = [*names]
    return lambda one: ordered.index(one.name)


def _class(name: str, base: str, what: str, options: Iterable[OptionField]) -> str:
    lines = [f"    {one.name}: {written(one.annotation)}" for one in options]
    head = f"class {name}({base or 'TypedDict'}, total=False):"
    return "\n".join(["", "", head, f'    """{what}"""', "", *lines]) + "\n"


def written(annotation: Any) -> str:
    """A type as it is written in a program.

    >>> written(Literal["a", "b"] | None)
    'Literal["a", "b"] | None'
    """
    return " | ".join(_parts(annotation))


def _parts(annotation: Any) -> Iterator[str]:
    origin = get_origin(annotation)
    if origin in {Union, UnionType}:
        for part in get_args(annotation):
            yield from _parts(part)
    elif origin is Literal:
        words = ", ".join(f'"{word}"' for word in get_args(annotation))
        yield f"Literal[{words}]"
    elif annotation is NoneType:
        yield "None"
    else:
        yield annotation.__name__ if isinstance(annotation, type) else str(annotation)


def write() -> None:
    """Write every generated file."""
    for path, text in GENERATED.items():
        path.write_text(text())


if __name__ == "__main__":
    write()
