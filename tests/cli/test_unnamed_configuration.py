"""A file of options that nobody named: it may choose and limit, and nothing else happens because of it."""

from __future__ import annotations

import os
import time
import tomllib
from pathlib import Path

import pytest

from bnsharp_cli.cli.configured import options_by_command
from bnsharp_cli.option_records import never
from bnsharp_cli.workflows.completion import offered_data, offered_losses, offered_networks
from tests.cli.helpers import bnsharp, one_error
from tests.cli.test_configuration import configure

SAMPLE = "sample:digits-small-batch"
READ = {"data_root", "baseline", "config"}
"""Options with a path that is read."""
ASKING = {
    "check": ('arch = "mine.py:net"', 'arch = "os:system"', 'data = "mine.py:data"', 'loss = "mine.py:loss"'),
    "measure": (
        'output = "a.json"',
        'plot = "a.png"',
        'results = "kept"',
        "download = true",
        "arch-option = {a = 1}",
        'test-data = "a.py:b"',
    ),
    "rescale-test": ('save-copies = "copies"',),
    "train": ("resume = true", "overwrite = true", 'track = "wandb:x"', 'output = "a.pt"'),
    "reproduce": ('output = "a"', 'cifar10 = "mine.py:data"'),
}


@pytest.mark.parametrize(("command", "line"), [(command, line) for command, lines in ASKING.items() for line in lines])
def test_a_file_that_nobody_named_does_nothing_but_choose(command: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("open('ran.txt', 'w').close()\n")
    configure(tmp_path, f"[{command}]\n{line}\n")
    arguments = {"train": (), "reproduce": ("figure-1",)}.get(command, (SAMPLE,))
    reason = one_error(bnsharp(command, *arguments, folder=tmp_path, expect=2))
    flag = line.partition(" ")[0]
    assert reason.startswith(f"bnsharp: bnsharp.toml: {command}.{flag}: it makes the command write, fetch or run code")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bnsharp.toml", "mine.py"]
    value = tomllib.loads(line)[flag]
    assert bnsharp(command, "--config", "bnsharp.toml", "--show-config", folder=tmp_path).stdout
    if not isinstance(value, bool | dict):  # a flag that is typed takes the place of the file's
        assert bnsharp(command, f"--{flag}", value, "--show-config", folder=tmp_path).stdout


def test_every_option_with_a_path_is_either_read_or_kept_from_files_that_nobody_named() -> None:
    """A new option that writes belongs to one of the two."""
    for options in options_by_command().values():
        for one in (option.field for option in options.values()):
            if one.item_type is Path:
                assert (one.declared.harmless is never) == (one.name not in READ), one.name


def test_every_option_that_can_name_code_is_kept_from_files_that_nobody_named() -> None:
    naming = [
        one
        for options in options_by_command().values()
        for one in (option.field for option in options.values())
        if "file.py:" in one.declared.help or one.declared.complete in (offered_networks, offered_data, offered_losses)
    ]
    assert len(naming) > 20
    for one in naming:
        assert not one.declared.harmless("mine.py:function"), one.name
        assert not one.declared.harmless("package.module:function"), one.name


def test_the_file_itself_is_never_written_over(tmp_path: Path) -> None:
    text = "[check]\nsamples = 64\n"
    path = configure(tmp_path, text)
    os.link(path, tmp_path / "other.json")
    for name in ("bnsharp.toml", "other.json"):
        reason = one_error(bnsharp("check", SAMPLE, "--output", name, folder=tmp_path, expect=2))
        assert reason.endswith(f"Cannot write {name}: this command reads it.")
    assert path.read_text() == text


def test_no_file_takes_long(tmp_path: Path) -> None:
    """Names with many parts cost the parser the square of them; without a bound this one takes minutes."""
    deep = ".".join("a" * 100)
    lines = [f"[{deep}]", *(f"{deep}.b{number} = 1" for number in range(2400))]
    configure(tmp_path, "\n".join(lines))
    assert (tmp_path / "bnsharp.toml").stat().st_size > 2**18
    began = time.process_time()
    bnsharp("inspect", SAMPLE, folder=tmp_path, expect=2)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "text", ['["\\u001b[31m"]', '[check]\n"\\u001b]0;x\\u0007\\n" = 1', '[check]\nsplit = "\\u001b[31m"']
)
def test_what_it_says_does_nothing_to_a_terminal(text: str, tmp_path: Path) -> None:
    configure(tmp_path, text)
    printed = bnsharp("check", SAMPLE, folder=tmp_path, expect=2).stderr
    assert all(line.isprintable() for line in printed.splitlines())
    (tmp_path / "bnsharp.toml").rename(tmp_path / "\x1b[31m.toml")
    named = bnsharp("check", SAMPLE, "--config", "\x1b[31m.toml", folder=tmp_path, expect=2).stderr
    assert all(line.isprintable() for line in named.splitlines())


@pytest.mark.parametrize("name", ["bnsharp.toml", "pyproject.toml"])
def test_a_name_of_half_a_megabyte_is_refused_at_once(name: str, tmp_path: Path) -> None:
    prefix = "tool.bnsharp." if name == "pyproject.toml" else ""
    configure(tmp_path, f"[{prefix}check]\n{'a' * 500_000} = 1\n", name)
    began = time.process_time()
    printed = bnsharp("inspect", SAMPLE, folder=tmp_path, expect=2).stderr
    assert time.process_time() - began < 5
    assert len(printed) < 3000
