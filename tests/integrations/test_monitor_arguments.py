"""What cannot be meant is refused when a monitor is made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bnsharp_cli.errors import UsageError
from bnsharp_cli.integrations.monitor import SharpnessMonitor
from tests.integrations.test_monitor import batches, examples


def raising() -> Iterator[Any]:
    yield examples()[:8]
    raise OSError("the disk is gone")


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("every", ("a", 1.5, 0)),
        ("share", (0, 1.5, "a", None)),
        ("limit_batches", ("x", 0, 2.5)),
        ("bn", ("x", None)),
        ("seed", ("a", None)),
        ("criterion", (3, None)),
        ("batches", (3, None, torch.zeros(3, 2), [], raising(), [3])),
        ("delta", ("a", -1, [])),
        ("measures", ("nothing", 3, [], ["bn", "nothing"], None)),
        ("file", (Path(),)),
        ("track", ("nothing:x", "tensorboard")),
        ("name", ("", 3)),
    ],
)
def test_bad_arguments_are_refused_when_the_monitor_is_made(argument: str, wrong: tuple[Any, ...]) -> None:
    for value in wrong:
        with pytest.raises(UsageError) as refused:
            SharpnessMonitor(**{"batches": batches(), argument: value})
        assert refused.value.argument == argument, value
        assert refused.value.remedy


def test_an_unknown_option_is_refused_when_the_monitor_is_made() -> None:
    with pytest.raises(UsageError, match="There is no option delt"):
        SharpnessMonitor(batches(), delt=1)
