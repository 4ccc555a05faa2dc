"""The file of the shipped index of networks; nothing heavy is imported, so that a shell can complete its names."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any

_FILE = "architectures.json"


@functools.cache
def index_contents() -> dict[str, Any]:
    """The shipped index as it is written: versions, and ``networks``."""
    text = (files("bnsharp_cli.io.networks") / _FILE).read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def indexed_names() -> list[str]:
    """Every network of the index, such as ``torchvision:resnet18``, in alphabetical order.

    >>> "timm:resnet18" in indexed_names()
    True
    """
    every = (name for line in index_contents()["networks"] for group in line["functions"] for name in group)
    return sorted(set(every))
