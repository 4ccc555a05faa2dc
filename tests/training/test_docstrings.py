"""The examples in the docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import bnsharp_cli.integrations
import bnsharp_cli.report
import bnsharp_cli.training
from bnsharp_cli.training.registry import TRAINING_RULES

MODULES = [
    module.name
    for package in (bnsharp_cli.training, bnsharp_cli.report, bnsharp_cli.integrations)
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    if name.endswith(".lightning"):
        pytest.importorskip("lightning", reason="the extra of its name")
    assert not doctest.testmod(importlib.import_module(name)).failed


@pytest.mark.parametrize("rule", TRAINING_RULES)
def test_every_rule_has_an_example_of_two_steps(rule: str) -> None:
    lines = doctest.DocTestParser().get_examples(inspect.getdoc(TRAINING_RULES[rule].rule_class) or "")
    assert any("rule.step(" in line.source and "range(2)" in line.source for line in lines)
