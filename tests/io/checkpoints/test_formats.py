"""The table of checkpoint formats: who recognises what, and that a line is all that a new format takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.distributed import checkpoint as distributed

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints import checkpoint
from bnsharp_cli.io.checkpoints.checkpoint import CHECKPOINT_FORMATS, load_checkpoint, save_checkpoint
from bnsharp_cli.io.checkpoints.formats import CheckpointContent, CheckpointFormat, Source

WEIGHTS = {"weight": torch.ones(2, 2)}
OWN_WORDS = {"architecture": "os:system", "data": "digits", "training": {"epochs": 3}}


def write_distributed(path: Path) -> None:
    distributed.save(dict(WEIGHTS), checkpoint_id=path, no_dist=True)


def write_folder(path: Path) -> None:
    path.mkdir()
    save_file(WEIGHTS, path / "model.safetensors")


WRITERS: dict[str, Callable[[Path], None]] = {
    "folder": write_folder,
    "bnsharp/1": lambda path: save_checkpoint(path, WEIGHTS, **OWN_WORDS),
    "lightning": lambda path: torch.save({"pytorch-lightning_version": "2.5", "state_dict": WEIGHTS}, path),
    "distributed": write_distributed,
    "safetensors": lambda path: save_file(WEIGHTS, path),
    "state_dict": lambda path: torch.save({"model": WEIGHTS, "epoch": 3, **OWN_WORDS}, path),
}


@pytest.mark.filterwarnings("ignore:torch.distributed is:UserWarning")
@pytest.mark.parametrize("name", WRITERS)
def test_each_format_is_recognised_by_what_it_holds(tmp_path: Path, name: str) -> None:
    path = tmp_path / "net.bin"
    WRITERS[name](path)
    found = load_checkpoint(path)
    assert found.format == name
    assert torch.equal(found.state_dict["weight"], WEIGHTS["weight"])


def test_every_format_but_the_directory_has_a_writer_here() -> None:
    assert [one.name for one in CHECKPOINT_FORMATS] == ["huggingface", *WRITERS]
    assert all(one.help.endswith(".") and "\n" not in one.help for one in CHECKPOINT_FORMATS)


def test_our_own_words_are_believed_in_our_own_files_only(tmp_path: Path) -> None:
    said = {}
    for name in ("bnsharp/1", "state_dict"):
        WRITERS[name](tmp_path / "net.bin")
        said[name] = load_checkpoint(tmp_path / "net.bin").metadata
    assert said["bnsharp/1"] == {"format": "bnsharp/1", **OWN_WORDS}
    assert said["state_dict"] == {"epoch": 3}


def test_a_format_is_added_by_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.text"
    path.write_text("weight 1.5\n")

    def read(source: Source) -> CheckpointContent:
        name, number = source.path.read_text().split()
        return CheckpointContent({name: torch.tensor([float(number)])}, "0" * 64, {"epoch": 3}, notes=("as text",))

    with pytest.raises(CheckpointRefusedError, match="not a PyTorch checkpoint"):
        load_checkpoint(path)
    line = CheckpointFormat("text", "Text.", lambda source: source.path.suffix == ".text", read)
    monkeypatch.setattr(checkpoint, "CHECKPOINT_FORMATS", (line, *CHECKPOINT_FORMATS))
    found = load_checkpoint(path)
    assert (found.format, found.metadata, found.notes) == ("text", {"epoch": 3}, ("as text",))
    assert found.state_dict["weight"].tolist() == [1.5]


def test_a_source_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bnsharp_cli.io.checkpoints import formats

    path, read = tmp_path / "net.pt", []
    torch.save(WEIGHTS, path)
    original = formats.opened_container
    monkeypatch.setattr(formats, "opened_container", lambda path: read.append(path) or original(path))
    assert load_checkpoint(path).format == "state_dict"
    assert read == [path]


def test_epsilons_that_are_none_are_refused(tmp_path: Path) -> None:
    for epsilon, says in (({}, "'norm_epsilon' is not a list of real tensors"), ([torch.tensor([torch.nan])], "NaN")):
        save_checkpoint(tmp_path / "net.pt", WEIGHTS, norm_epsilon=epsilon)
        with pytest.raises(CheckpointRefusedError, match=says):
            load_checkpoint(tmp_path / "net.pt")
