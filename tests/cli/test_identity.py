"""Networks that nobody named, and the options of their images, through the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from tests.cli.helpers import bnsharp, one_error

SMALL = ("--data", "digits", "--samples", 256, "--batch-size", 128)
DIGITS = ("--mean", "0.305383", "--std", "0.376119")


@pytest.fixture
def unnamed(tmp_path: Path) -> Path:
    """A trained network as a bare state_dict."""
    torch.save(dict(load_checkpoint(embedded_checkpoint()).state_dict), tmp_path / "net.pt")
    return tmp_path


def test_a_guess_is_announced_with_the_accuracy(unnamed: Path) -> None:
    finished = bnsharp("measure", "net.pt", *SMALL, *DIGITS, "--output", "found.json", folder=unnamed)
    assert "net.pt: lenet-bn (a guess), 21,612 parameters" in finished.stdout
    assert "images: of their own size; mean 0.3054; std 0.3761" in finished.stdout
    found = json.loads((unnamed / "found.json").read_text())
    assert found["checkpoint"]["architecture"] == "lenet-bn"
    assert found["checkpoint"]["architecture_source"] == "guess"
    assert found["accuracy"] > 0.99
    assert "lenet-bn is a guess from the names and shapes" in finished.stderr
    assert f"let the accuracy of {found['accuracy']:.2%} decide, and say so with --arch" in finished.stderr
    named = bnsharp("measure", "net.pt", "--arch", "lenet-bn", *SMALL, *DIGITS, "--json", folder=unnamed)
    assert "guess" not in named.stderr
    told = json.loads(named.stdout)
    assert told["checkpoint"]["architecture_source"] == "option"
    assert told["measures"] == found["measures"]


def test_the_users_numbers_replace_those_of_the_file(tmp_path: Path) -> None:
    def loss(*options: object) -> float:
        finished = bnsharp("measure", "sample:digits-small-batch", *SMALL, *options, "--json", folder=tmp_path)
        found: float = json.loads(finished.stdout)["loss"]
        return found

    assert loss(*DIGITS) == loss()
    assert loss("--mean", "0", "--std", "1") != loss()
    assert loss("--image-size", 8) == loss("--image-size", 0) == loss()


def test_copies_of_a_guess_name_their_network(unnamed: Path, few_copies: None) -> None:
    bnsharp("rescale-test", "net.pt", *SMALL, *DIGITS, "--save-copies", "copies", "--quiet", folder=unnamed)
    copies = sorted((unnamed / "copies").iterdir())
    assert copies
    for path in copies[:2]:
        assert load_checkpoint(path).metadata["architecture"] == "lenet-bn"
    finished = bnsharp("measure", copies[0], *SMALL, folder=unnamed)
    assert "(a guess)" not in finished.stdout
    assert "mean 0.3054; std 0.3761" in finished.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--mean", "a,b"), "--mean: expected numbers, found 'a,b'"),
        (("--std", ""), "--std: expected numbers, found ''"),
        (("--mean", "0.5,0.5", "--std", "1"), "expected both, one finite number per channel"),
        (("--image-size", -8), "--image-size: expected 0 to 4096, found -8"),
    ],
)
def test_numbers_that_cannot_be_meant_exit_2(tmp_path: Path, options: tuple[object, ...], says: str) -> None:
    finished = bnsharp("measure", "sample:digits-small-batch", *SMALL, *options, folder=tmp_path, expect=2)
    assert says in one_error(finished)


def test_an_unknown_network_exits_2_and_says_what_to_do(tmp_path: Path) -> None:
    torch.save({"strange.weight": torch.ones(3, 3)}, tmp_path / "net.pt")
    finished = bnsharp("measure", "net.pt", *SMALL, folder=tmp_path, expect=2)
    assert "none known here has its names and shapes" in one_error(finished)
    assert "--arch torchvision:resnet18" in finished.stderr
