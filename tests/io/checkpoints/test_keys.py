"""Keys of weights: everything that is printed as one names what it seems to, at any depth."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import resnet18

from bnsharp_cli.errors import BnsharpError, CheckpointRefusedError, UsageError
from bnsharp_cli.io.checkpoints.state_dicts import choose_weights, find_state_dicts
from bnsharp_cli.workflows.inspection import inspect_file
from bnsharp_cli.workflows.inspection_options import InspectionOptions
from bnsharp_cli.workflows.options import CheckpointSource
from tests.io.checkpoints.test_weights import FILE, prefixed, weights

BOTH = {**prefixed("student.", weights()), **prefixed("teacher.", weights(2))}
WRAPPED = prefixed("module.", BOTH)
_KEYS = re.compile(r"key ([\w.]+)(?=[,.](?: |$))")


def nested(value: Any, *names: str) -> Any:
    for name in reversed(names):
        value = {name: value}
    return value


@pytest.mark.parametrize(
    ("content", "key", "full"),
    [
        ({"state_dict": WRAPPED}, "state_dict.teacher", ""),
        ({"state_dict": WRAPPED}, "state_dict.module.teacher", ""),
        ({"state_dict": WRAPPED}, "teacher", "state_dict.teacher"),
        ({"state_dict": WRAPPED}, "module.teacher", "state_dict.module.teacher"),
        (WRAPPED, "teacher", ""),
        (prefixed("net._orig_mod.", BOTH), "net.teacher", ""),
        (prefixed("_orig_mod.module.", BOTH), "teacher", ""),
        ({**WRAPPED, "n_averaged": torch.tensor(3)}, "teacher", ""),
        ({**prefixed("student.", weights()), **prefixed("teacher.module.net.", weights(2))}, "teacher.net", ""),
        ({"state_dict": BOTH, "state_dict_ema": prefixed("student.", weights())}, "teacher", "state_dict.teacher"),
        ({"a": prefixed("student.", weights()), "b": BOTH}, "teacher", "b.teacher"),
        (nested({"trunk": weights(2), "heads": weights()}, "c", "base", "model"), "c.base.model.trunk", ""),
        ({"model": weights(), **nested(weights(2), *"abcdefgh")}, "a.b.c.d.e.f.g.h", ""),
        (nested({"trunk": BOTH, "n": 1}, *"abcd"), "a.b.c.d.trunk.teacher", ""),
    ],
)
def test_a_key_leads_anywhere_with_and_without_the_marks_of_wrappers(
    content: dict[str, Any], key: str, full: str
) -> None:
    chosen = choose_weights(FILE, content, key)
    assert torch.equal(chosen.tensors["0.bias"], weights(2)["0.bias"])
    assert set(chosen.tensors) == set(weights())
    assert chosen.key == (full or key)


def test_weights_that_stand_deep_are_found_where_no_others_are() -> None:
    deep = nested(weights(), *"abcdefgh")
    assert choose_weights(FILE, deep).key == "a.b.c.d.e.f.g.h"
    assert choose_weights(FILE, {"generator": weights(2), **deep}).key == "generator"


def test_a_part_of_several_weights_is_named_in_full() -> None:
    content = {"a": BOTH, "b": BOTH}
    with pytest.raises(UsageError, match=r"it has a\.teacher, b\.teacher\. Name one") as caught:
        choose_weights(FILE, content, "teacher")
    for key in re.findall(r"[ab]\.teacher", caught.value.reason):
        assert torch.equal(choose_weights(FILE, content, key).tensors["0.bias"], weights(2)["0.bias"])


def test_a_wrong_part_of_a_state_dict_lists_its_parts() -> None:
    with pytest.raises(UsageError, match=r"it has state_dict\.student, state_dict\.teacher\. Name one"):
        choose_weights(FILE, {"state_dict": BOTH, "epoch": 3}, "state_dict.module.student")


def test_weights_without_parts_have_no_keys() -> None:
    with pytest.raises(UsageError, match=r"it has no parts\. Leave key out"):
        choose_weights(FILE, {"weight": torch.ones(2)}, "bias")


def test_the_search_at_any_depth_is_bounded() -> None:
    inner: dict[str, Any] = {str(index): 0 for index in range(20_000)}
    for _ in range(90):
        inner = {**{str(index): 0 for index in range(900)}, "a": inner, "b": inner}
    assert find_state_dicts(inner) == {}


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"generator": weights(), "discriminator": weights(2)}, None),
        ({"a": BOTH, "b": BOTH}, "teacher"),
        ({"a": BOTH, "b": BOTH}, "c"),
        (WRAPPED, "a"),
        ({"state_dict": BOTH}, "state_dict.module.student"),
        ({"state_dict": WRAPPED, "epoch": 3}, "state_dict.pupil"),
        (prefixed("a._orig_mod.", weights()) | {"queue": torch.ones(2, 2)}, "b"),
    ],
)
def test_every_key_that_is_listed_works(content: dict[str, Any], key: str | None) -> None:
    with pytest.raises(BnsharpError) as caught:
        choose_weights(FILE, content, key)
    listed = re.search(r"(?:it has|state_dicts:) (.*)\.$", caught.value.reason)
    assert listed
    for name in listed[1].split(", "):
        assert choose_weights(FILE, content, name).tensors


@pytest.mark.parametrize(
    ("content", "key", "parts"),
    [
        ({"state_dict": WRAPPED}, None, 2),
        (BOTH, None, 2),
        ({"model": prefixed("module.model.", weights()) | prefixed("module.attacker.model.", weights())}, None, 2),
        (prefixed("a.b.c.module.", BOTH) | {"queue": torch.ones(3, 3)}, None, 2),
        ({"state_dict": prefixed("net.", WRAPPED)}, "state_dict.net", 2),
        (prefixed("model.", weights()) | {"mu": torch.ones(1, 3, 1, 1)}, None, 1),
        (nested(prefixed("_orig_mod.", BOTH), *"abcd"), None, 2),
    ],
)
def test_every_key_that_a_misfit_prints_works(
    content: dict[str, Any], key: str | None, parts: int, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "net.pt")
    (tmp_path / "own.py").write_text("from tests.io.checkpoints.test_weights import net\n")
    source = CheckpointSource(arch=f"{tmp_path / 'own.py'}:net", key=key)
    with pytest.raises(CheckpointRefusedError) as caught:
        inspect_file(tmp_path / "net.pt", source)
    keys = _KEYS.findall(caught.value.remedy)
    assert len(keys) == parts
    for printed in keys:
        assert inspect_file(
            tmp_path / "net.pt", replace(source, key=printed), InspectionOptions(image_size=4)
        ).inspection.anatomy


@pytest.mark.parametrize("given", [{}, {"num_classes": 7}])
def test_a_key_is_printed_where_the_part_has_another_number_of_classes(given: dict[str, Any], tmp_path: Path) -> None:
    state = resnet18(num_classes=7).state_dict()
    both = prefixed("module.encoder_q.", state) | prefixed("module.encoder_k.", state)
    torch.save({"state_dict": {**both, "module.queue": torch.ones(4, 4)}}, tmp_path / "net.pt")
    source = {"arch": "torchvision:resnet18", "arch_option": given}
    with pytest.raises(CheckpointRefusedError) as caught:
        inspect_file(tmp_path / "net.pt", CheckpointSource(**source))
    keys = _KEYS.findall(caught.value.remedy)
    assert keys == ["state_dict.encoder_q", "state_dict.encoder_k"]
    found = inspect_file(tmp_path / "net.pt", CheckpointSource(**source, key=keys[0])).inspection
    assert found.anatomy
    assert found.anatomy.module.get_submodule("fc").weight.shape == (7, 512)


def test_no_key_is_printed_where_the_arguments_that_are_given_exclude_it(tmp_path: Path) -> None:
    state = resnet18(num_classes=7).state_dict()
    torch.save(prefixed("a.", state) | prefixed("b.", state), tmp_path / "net.pt")
    with pytest.raises(CheckpointRefusedError) as caught:
        inspect_file(tmp_path / "net.pt", CheckpointSource(arch="torchvision:resnet18", arch_option={"num_classes": 9}))
    assert _KEYS.findall(caught.value.remedy) == []
