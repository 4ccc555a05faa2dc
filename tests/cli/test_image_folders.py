"""Folders of images from the command line: what is printed as a remedy works as printed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.helpers import bnsharp, one_error

SAMPLE = "sample:digits-small-batch"
FAST = ("--samples", 8, "--batch-size", 4)


def digits(root: Path, *folders: str) -> None:
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(2):
            Image.new("L", (8, 8), 40 * index).save(root / folder / f"{index}.png")


def measured(folder: Path, *arguments: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(bnsharp("measure", SAMPLE, *arguments, *FAST, "--json", folder=folder).stdout)
    return answer


@pytest.mark.parametrize("count", [9, 11])
def test_another_number_of_folders_than_classes_is_taken_only_where_asked_for(tmp_path: Path, count: int) -> None:
    names = [f"{number:02}" for number in range(count)]
    digits(tmp_path / "images", *names)
    finished = bnsharp("measure", SAMPLE, "--data", "folder:images", *FAST, folder=tmp_path, expect=3)
    assert f"folder:images: {count} class folders for a network of 10 classes" in one_error(finished)
    assert "add --classes folder if" in finished.stderr
    if count == 9:
        assert measured(tmp_path, "--data", "folder:images", "--classes", "folder")["data"]["classes"] == names


def test_a_folder_one_level_off_is_refused_with_the_option_to_give(tmp_path: Path) -> None:
    digits(tmp_path / "my images", *(f"all/{number}" for number in range(10)))
    finished = bnsharp("measure", SAMPLE, "--data", "folder:my images", *FAST, folder=tmp_path, expect=3)
    assert "my images has one class folder, all" in one_error(finished)
    remedy = " ".join(finished.stderr.splitlines()[1].split())
    given = shlex.split(remedy.removeprefix("Give ").split(". ")[0])
    assert given == ["--data", "folder:my images/all"]
    assert measured(tmp_path, *given)["data"]["classes"] == [str(number) for number in range(10)]
