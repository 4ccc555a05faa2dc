"""docs/json.md: every field of every JSON document, as the JSON Schema in the package describes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.documents import ROOT

SCHEMA = ROOT / "bnsharp_cli" / "report" / "schema" / "bnsharp-1.json"
HEAD = """\
# JSON documents

Every field of every document of schema `bnsharp/1`. `python -m tests.generated` writes this page from the JSON Schema
(draft 2020-12) that is installed as `bnsharp_cli/report/schema/bnsharp-1.json`. NaN and infinity never appear: they are
null. A field is always present unless its meaning begins with *optional*.

`measure` of several checkpoints prints one document a line. With several `--delta` each measure has a `profile`, a
list of records. What fails, with `--json`, has the document [failure](#failure) and the exit code of [cli.md](cli.md).
"""


def described() -> dict[str, Any]:
    """The JSON Schema of all documents."""
    found: dict[str, Any] = json.loads(SCHEMA.read_text())
    return found


def json_page() -> str:
    """The whole page."""
    sections = (line for name, entry in described()["$defs"].items() for line in _section(name, entry))
    return "\n".join([HEAD, *sections]).rstrip() + "\n"


def _section(name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"## {name}", "", entry["description"], "")
    for table in (entry, *entry.get("oneOf", ())):
        if "properties" in table:
            yield from ("| field | type | meaning |", "| --- | --- | --- |", *_rows(table, ""), "")


def _rows(table: Mapping[str, Any], before: str) -> Iterator[str]:
    for name, field in table["properties"].items():
        optional = "" if name in table["required"] else "*optional*: "
        meaning = optional + field["description"].replace("|", "\\|")
        yield f"| `{before}{name}` | {written(field)} | {meaning} |"
        inner, mark = _inner(field)
        if inner is not None:
            yield from _rows(inner, f"{before}{name}{mark}.")


def _inner(field: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str]:
    """The object that a field holds, or holds a list of, if it is described in place."""
    if field.get("properties"):
        return field, ""
    if "items" in field:
        return _inner(field["items"])[0], "[]"
    return next((found for part in field.get("anyOf", ()) if (found := _inner(part))[0] is not None), (None, ""))


def written(field: Mapping[str, Any]) -> str:
    """The type of a field in words.

    >>> written({"type": ["number", "null"]})
    'number or null'
    """
    if "$ref" in field:
        name = field["$ref"].removeprefix("#/$defs/")
        return f"[{name}](#{name.replace(' ', '-')})"
    if "anyOf" in field:
        return " or ".join(map(written, field["anyOf"]))
    if "const" in field or "enum" in field:
        return " or ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    kinds = field.get("type", "any value")
    text = " or ".join([kinds] if isinstance(kinds, str) else kinds)
    return text.replace("array", f"array of {written(field['items'])}") if "items" in field else text
