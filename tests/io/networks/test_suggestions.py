"""Networks that are named wrongly: what was meant is said, and works as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.networks.constructors import construct, construct_on_meta


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("resnet18", "torchvision:resnet18"),
        ("ResNet18", "torchvision:resnet18"),
        ("torchvision:resnet81", "torchvision:resnet18"),
        ("torchvision:ResNet50", "torchvision:resnet50"),
        ("lenet_bn", "lenet-bn"),
        ("vgg11bn", "vgg11-bn"),
    ],
)
def test_what_was_meant_is_said_and_works(spec: str, meant: str) -> None:
    with pytest.raises(UsageError) as refused:
        construct(spec, {})
    offered = re.fullmatch(r"Did you mean (.*)\?", refused.value.remedy)
    assert offered is not None
    names = re.split(", | or ", offered[1])
    assert meant in names
    for name in names:
        construct_on_meta(name, {})


def test_resnet81_is_like_others() -> None:
    with pytest.raises(UsageError, match="Did you mean torchvision:resnet18"):
        construct("resnet81", {})


@pytest.mark.parametrize("spec", ["", "zzzzzzzz", "net.py", "no/such.py", "x" * 10**6])
def test_nothing_like_it_is_said_with_the_forms(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"Unknown network '.*Use one of: lenet-bn, vgg11-bn, torchvision:NAME"):
        construct(spec, {})


def test_a_file_says_its_functions_and_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = "from torch import nn\nopen('ran', 'a').close()\ndef _help(): pass\ndef net(): return nn.Linear(2, 2)\n"
    (tmp_path / "net.py").write_text(source)
    with pytest.raises(UsageError, match=r"Unknown network 'net.py'. Name a function of that file: net.py:net\."):
        construct("net.py", {})
    assert not (tmp_path / "ran").exists()
    assert sum(weight.numel() for weight in construct("net.py:net", {}).parameters()) == 6
