"""Folders of training runs: read where it is plain which weights are meant, and else the message names what to give."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.workflows.inspection import inspect_file
from tests.cli.helpers import bnsharp
from tests.io.checkpoints.test_weights import weights

STATES = (
    "optimizer.bin",
    "scheduler.bin",
    "optimizer.pt",
    "rng_state_0.pth",
    "random_states_0.pkl",
    "training_args.bin",
)


def put(path: Path, factor: float = 1.0) -> None:
    """Weights in a file of one of the usual names, and beside it what a run leaves."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(weights(factor), path, metadata={"format": "pt"})
    else:
        torch.save({"state_dict": weights(factor)} if path.suffix == ".ckpt" else weights(factor), path)
    for name in STATES:
        torch.save({"state": {}, "param_groups": []}, path.parent / name)


def put_shards(folder: Path, ending: str) -> None:
    folder.mkdir(parents=True)
    tensors, whole = weights(), {"bin": "pytorch_model.bin", "safetensors": "model.safetensors"}[ending]
    names = {name: f"{Path(whole).stem}-0000{1 + index % 2}-of-00002.{ending}" for index, name in enumerate(tensors)}
    for shard in set(names.values()):
        part = {name: tensors[name] for name in names if names[name] == shard}
        save_file(part, folder / shard) if ending == "safetensors" else torch.save(part, folder / shard)
    (folder / f"{whole}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


def assert_read(path: Path, factor: float = 1.0) -> None:
    found = load_checkpoint(path).state_dict
    assert {*found} == {*weights()}
    assert all(torch.equal(found[name], tensor) for name, tensor in weights(factor).items())


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_of_accelerate_is_read(tmp_path: Path, name: str) -> None:
    put(tmp_path / "checkpoint_3" / name)
    checkpoint = load_checkpoint(tmp_path / "checkpoint_3")
    assert checkpoint.format == "folder"
    assert checkpoint.metadata == {}
    assert_read(tmp_path / "checkpoint_3")


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_shards_are_read_as_one_and_a_single_one_names_its_folder(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "a run"
    put_shards(folder, ending)
    assert_read(folder)
    shard = next(folder.glob(f"*-00002-of-00002.{ending}"))
    with pytest.raises(CheckpointRefusedError, match="one of 2 files that hold the weights together") as caught:
        load_checkpoint(shard)
    assert_read(Path(printed(caught.value.remedy)[0]))
    shard.unlink()
    with pytest.raises(CheckpointRefusedError, match=r"it lacks"):
        load_checkpoint(folder)


def test_a_shard_without_an_index_and_a_file_that_is_the_only_one_are_files(tmp_path: Path) -> None:
    put(tmp_path / "model-00001-of-00001.safetensors")
    put(tmp_path / "other-00001-of-00002.safetensors")
    for path in tmp_path.glob("*.safetensors"):
        assert_read(path)


def printed(remedy: str) -> list[str]:
    return re.findall(r"'([^']+)'", remedy)


@pytest.mark.parametrize(
    ("given", "there"),
    [
        ("run", "run/epoch=1-step=20.ckpt"),
        ("lightning_logs", "lightning_logs/version_0/checkpoints/epoch=1-step=20.ckpt"),
        ("run", "run/checkpoint-500/model.safetensors"),
        ("run", "run/checkpoint-500/pytorch_model.bin"),
        ("zero2", "zero2/global_step100/mp_rank_00_model_states.pt"),
        ("a folder", "a folder/net.pth.tar"),
        ("run", "run/deep/er/still/net.pt"),
    ],
)
def test_the_only_checkpoint_below_a_folder_is_named_and_can_be_given(tmp_path: Path, given: str, there: str) -> None:
    put(tmp_path / there)
    with pytest.raises(CheckpointRefusedError, match="is a folder") as caught:
        load_checkpoint(tmp_path / given)
    assert caught.value.remedy.startswith("Name the checkpoint in it: ")
    (name,) = printed(caught.value.remedy)
    assert_read(Path(name))


def test_several_are_listed_each_of_which_can_be_given(tmp_path: Path) -> None:
    for number in range(6):
        put(tmp_path / "run" / f"checkpoint-{number}" / "model.safetensors")
    with pytest.raises(CheckpointRefusedError) as caught:
        load_checkpoint(tmp_path / "run")
    assert caught.value.remedy.startswith("Name one of the checkpoints in it: ")
    assert caught.value.remedy.endswith(" and 2 more.")
    names = printed(caught.value.remedy)
    assert len(names) == 4
    for name in names:
        assert_read(Path(name))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_several_networks_of_accelerate_are_the_users_choice(tmp_path: Path, name: str) -> None:
    put(tmp_path / "run" / name)
    put(tmp_path / "run" / name.replace("model.", "model_1."), 2)
    with pytest.raises(CheckpointRefusedError) as caught:
        load_checkpoint(tmp_path / "run")
    first, second = printed(caught.value.remedy)
    assert_read(Path(first))
    assert_read(Path(second), 2)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("config", [{}, {"model_type": "llama"}, {"auto_map": {"AutoModel": "net.Net"}}])
def test_the_file_in_a_directory_of_another_library_is_named(tmp_path: Path, name: str, config: object) -> None:
    put(tmp_path / "my run" / name)
    (tmp_path / "my run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointRefusedError, match="is not read") as caught:
        inspect_file(tmp_path / "my run")
    (file,) = printed(caught.value.remedy)
    assert_read(Path(file))


def loop(folder: Path) -> None:
    (folder / "net.pt").symlink_to(folder / "elsewhere" / "net.pt")
    (folder / "more").symlink_to(folder)


def hidden(folder: Path) -> None:
    put(folder / ".cache" / "net.pt")


def deep(folder: Path) -> None:
    put(folder / "a" / "b" / "c" / "d" / "net.pt")


@pytest.mark.parametrize("fill", [lambda _: None, loop, hidden, deep])
def test_links_hidden_folders_and_what_is_far_below_are_not_looked_at(
    tmp_path: Path, fill: Callable[[Path], None]
) -> None:
    (tmp_path / "run").mkdir()
    fill(tmp_path / "run")
    with pytest.raises(CheckpointRefusedError) as caught:
        load_checkpoint(tmp_path / "run")
    assert caught.value.remedy == "Name a checkpoint file."


def test_what_a_stranger_calls_his_files_is_printable(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    put(tmp_path / "run" / "net\x1b[31m\n.pt")
    with pytest.raises(CheckpointRefusedError) as caught:
        load_checkpoint(tmp_path / "run")
    assert caught.value.remedy.isprintable()


def test_the_command_reads_a_folder_for_a_network_that_is_named(tmp_path: Path) -> None:
    put(tmp_path / "run" / "model.safetensors")
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def net(): return nn.Sequential("
        "nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))\n"
    )
    printed_ = bnsharp("inspect", "run", "--arch", "mine.py:net", "--json", folder=tmp_path).stdout
    document = json.loads(printed_)
    assert document["checkpoint"]["format"] == "folder"
    assert document["checkpoint"]["architecture"] == "mine.py:net"
    assert {tensor["name"] for tensor in document["tensors"]} == {*weights()}
