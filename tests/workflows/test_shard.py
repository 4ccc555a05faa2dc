"""``bnsharp measure`` of several checkpoints, and of a cluster's share of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bnsharp_cli.errors import UsageError
from bnsharp_cli.workflows.shard import shard_of
from tests.cli.helpers import Finished, bnsharp, one_error

SMALL, LARGE = "sample:digits-small-batch", "sample:digits-large-batch"
FAST = ("--samples", 128, "--batch-size", 64, "--quiet")


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "cost": {**document["cost"], "seconds": None}}


def documents(finished: Finished) -> list[dict[str, Any]]:
    return [without_times(json.loads(line)) for line in finished.stdout.splitlines()]


def test_each_checkpoint_gives_its_own_document_and_a_failure_loses_none(tmp_path: Path) -> None:
    alone = [bnsharp("measure", name, *FAST, "--json", folder=tmp_path).stdout for name in (SMALL, LARGE)]
    (tmp_path / "broken.pt").write_bytes(b"<html>")
    arguments = (SMALL, "missing.pt", "broken.pt", LARGE, *FAST, "--json", "--output", "results.jsonl")
    finished = bnsharp("measure", *arguments, folder=tmp_path, expect=3)
    found = [json.loads(line) for line in finished.stdout.splitlines()]
    measured = [without_times(document) for document in found if "error" not in document]
    expected = [without_times(json.loads(text)) for text in alone]
    passes = measured[1].pop("cost"), expected[1].pop("cost")
    assert measured == expected
    assert passes[0]["backward"] < passes[1]["backward"]  # blocks are found once for both
    assert [document["path"] for document in found[1:3]] == ["missing.pt", "broken.pt"]
    for document in found[1:3]:
        assert document["error"]["exit_code"] == 3
        assert document["path"] in document["error"]["reason"]
        assert f"bnsharp: {document['error']['reason']}" in finished.stderr
        assert f"         {document['error']['remedy']}" in finished.stderr
    assert (tmp_path / "results.jsonl").read_text() == finished.stdout
    reasons = [line for line in finished.stderr.splitlines() if line.startswith("bnsharp: ")]
    assert [name in line for name, line in zip(("missing.pt", "broken.pt"), reasons, strict=True)] == [True, True]


def test_tables_follow_one_another(tmp_path: Path) -> None:
    lines = bnsharp("measure", SMALL, LARGE, *FAST, folder=tmp_path).stdout.splitlines()
    first, second = (next(i for i, line in enumerate(lines) if line.startswith(name)) for name in (SMALL, LARGE))
    assert first < second
    assert sum(line.startswith("bn ") for line in lines) == 2


def test_the_shards_share_the_checkpoints_whatever_their_order() -> None:
    paths = [Path(name) for name in "dbeac"]
    shares = [shard_of(paths, f"{index}/3") for index in (1, 2, 3)]
    assert shares == [[Path("a"), Path("d")], [Path("b"), Path("e")], [Path("c")]]
    assert shard_of(paths[::-1], "2/3") == shares[1]
    assert shard_of(paths, "6/6") == []


def test_a_shard_is_measured_one_document_a_line(tmp_path: Path) -> None:
    finished = bnsharp("measure", SMALL, LARGE, "--shard", "2/2", *FAST, "--json", folder=tmp_path)
    (document,) = documents(finished)
    assert document["checkpoint"]["path"].endswith("digits-small-batch.pt")
    assert bnsharp("measure", SMALL, "--shard", "2/2", *FAST, "--json", folder=tmp_path).stdout == ""


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", ""])
def test_a_shard_that_cannot_be_meant_is_refused(shard: str) -> None:
    with pytest.raises(UsageError, match="shard: expected i/n"):
        shard_of([Path("a")], shard)


def test_a_picture_shows_one_checkpoint(tmp_path: Path) -> None:
    finished = bnsharp("measure", SMALL, LARGE, "--plot", "picture.png", folder=tmp_path, expect=2)
    assert "--plot draws one checkpoint" in one_error(finished)
