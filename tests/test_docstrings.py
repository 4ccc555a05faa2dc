"""The examples in docstrings run, and print what they say."""

from __future__ import annotations

import doctest
import inspect
import pkgutil
from importlib import import_module

import pytest

import bnsharp_cli
from bnsharp_cli import core
from bnsharp_cli.measurement import bound, invariance, measures

PACKAGES = (core, measures, invariance, bound)
MODULES = [
    "bnsharp_cli",
    *(f"bnsharp_cli.{name}" for name in ("api", "errors", "option_records")),
    *(one.name for package in PACKAGES for one in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    failed, _ = doctest.testmod(import_module(name), raise_on_error=False)
    assert not failed


@pytest.mark.parametrize("name", ["find_blocks", "measure", "rescale_test"])
def test_the_functions_that_a_program_imports_have_an_example(name: str) -> None:
    function = getattr(bnsharp_cli, name)
    assert inspect.isfunction(function)
    assert doctest.DocTestFinder().find(function, name)[0].examples
