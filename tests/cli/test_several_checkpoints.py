"""``measure`` of several checkpoints: each as if it were alone, and what they share is found once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.helpers import bnsharp

SMALL, LARGE = "sample:digits-small-batch", "sample:digits-large-batch"
FAST = ("--samples", 256, "--batch-size", 64, "--quiet")


def documents(folder: Path, *arguments: object) -> list[dict[str, Any]]:
    return [*map(json.loads, bnsharp("measure", *arguments, *FAST, "--json", folder=folder).stdout.splitlines())]


def numbers(document: dict[str, Any]) -> dict[str, Any]:
    """All of a document but what it cost."""
    return {name: entry for name, entry in document.items() if name != "cost"}


@pytest.mark.parametrize("more", [(), ("--partition", "extended")])
def test_each_has_the_numbers_that_it_has_alone_and_the_second_costs_less(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    together = documents(tmp_path, SMALL, LARGE, *more)
    turned = documents(tmp_path, LARGE, SMALL, *more)
    alone = [
        json.loads(bnsharp("measure", one, *FAST, *more, "--json", folder=tmp_path).stdout) for one in (SMALL, LARGE)
    ]
    for document, swapped, own in zip(together, reversed(turned), alone, strict=True):
        assert numbers(document) == numbers(swapped) == numbers(own)
    assert together[0]["cost"]["forward"] == alone[0]["cost"]["forward"]
    for kind in ("forward", "backward"):
        assert together[1]["cost"][kind] < alone[1]["cost"][kind]
        assert turned[1]["cost"][kind] < alone[0]["cost"][kind]


def test_compare_finds_the_blocks_once(tmp_path: Path) -> None:
    alone = [json.loads(bnsharp("measure", one, *FAST, "--json", folder=tmp_path).stdout) for one in (SMALL, LARGE)]
    compared = json.loads(bnsharp("compare", SMALL, LARGE, *FAST, "--json", folder=tmp_path).stdout)
    assert [one["measures"] for one in compared["networks"]] == [one["measures"] for one in alone]
    assert compared["cost"]["backward"] < sum(one["cost"]["backward"] for one in alone)
