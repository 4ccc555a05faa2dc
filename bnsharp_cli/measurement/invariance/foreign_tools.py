"""What other tools say of a network: WeightWatcher, PyHessian and nngeom, each called as its documentation shows.

They are imported when they are asked for, and only if they are installed. Whatever they print, warn of, log or raise
stays inside: a failure of theirs is a row without values.
"""

from __future__ import annotations

import importlib
import io
import logging
import math
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from importlib import metadata
from types import ModuleType
from typing import Any

import torch

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError, UnfitMeasureError, shown
from bnsharp_cli.measurement.invariance.exposed_network import ExposedNetwork
from bnsharp_cli.measurement.invariance.invariance_row import ORIGINAL, InvarianceRow, ValueOnCopy
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.random_numbers import common_random_numbers, states_kept

_FLOAT32 = 1e-5
"""What the rounding of weights to float32, as files have them, may change of a number, relative to it."""

_POWER_ITERATION = 1e-3
"""PyHessian stops where two steps differ by less, relative to the value."""

_Said = tuple[ValueOnCopy, str]
"""A value, and in words what a number cannot say."""


@dataclass(frozen=True)
class ForeignTool:
    """Something that another tool computes.

    Attributes:
        label: the name of its row.
        package: the tool.
        read: from its module and a network to what it says; ∞ or NaN where it gives no number.
    """

    label: str
    package: str
    read: Callable[[ModuleType, ExposedNetwork], _Said]


def _weightwatcher(tool: ModuleType, network: ExposedNetwork) -> Any:
    details = tool.WeightWatcher(model=network.network).analyze()
    if "alpha" not in details:
        reason = "It analyses no layer of the network: all are small or of another kind."
        raise UnfitMeasureError(reason, "Leave it out.", argument="model")
    return details


def _alpha(tool: ModuleType, network: ExposedNetwork) -> _Said:
    """The mean over layers of the exponent α of a power law for the eigenvalues of a weight's WᵀW."""
    value = float(_weightwatcher(tool, network)["alpha"].mean())
    return ValueOnCopy(value, _FLOAT32 * abs(value)), ""


def _flags(tool: ModuleType, network: ExposedNetwork) -> _Said:
    """How many layers it flags as over- or under-trained."""
    details = _weightwatcher(tool, network)
    flags = [
        f"{name} {flag}"
        for name, flag in zip(details["longname"], details["warning"], strict=True)
        if str(flag).strip()
    ]
    return ValueOnCopy(float(len(flags))), ", ".join(flags).replace("network.", "")


def _curvature(tool: ModuleType, network: ExposedNetwork) -> Any:
    on_cuda = network.batch[0].is_cuda
    return tool.hessian(network, network.criterion, data=network.batch, cuda=on_cuda)


def _largest_eigenvalue(tool: ModuleType, network: ExposedNetwork) -> _Said:
    """The largest eigenvalue of the Hessian on the first batch; by power iteration."""
    value = float(_curvature(tool, network).eigenvalues()[0][0])
    return ValueOnCopy(value, _POWER_ITERATION * abs(value)), ""


def _trace(tool: ModuleType, network: ExposedNetwork) -> _Said:
    """The trace of the Hessian on the first batch, a mean over random vectors."""
    values = [float(value) for value in _curvature(tool, network).trace()]
    return _mean(values), ""


def _sharpness(tool: ModuleType, network: ExposedNetwork) -> _Said:
    """The mean rise of the loss in random directions at 5 % of the length of all weights, on the first batch."""
    model = tool.Model(network, loss_fn=lambda module, batch: network.criterion(module(batch[0]), batch[1]))
    found = tool.sharpness(model, network.batch, seed=0)
    return ValueOnCopy(found["mean_rise"], 0.0, found["std_rise"] / math.sqrt(found["n_samples"])), ""


def _mean(values: Sequence[float]) -> ValueOnCopy:
    spread = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return ValueOnCopy(statistics.fmean(values), 0.0, spread)


FOREIGN_TOOLS = (
    ForeignTool("ww-alpha", "weightwatcher", _alpha),
    ForeignTool("ww-flags", "weightwatcher", _flags),
    ForeignTool("pyhessian-max", "pyhessian", _largest_eigenvalue),
    ForeignTool("pyhessian-trace", "pyhessian", _trace),
    ForeignTool("nngeom-sharpness", "nngeom", _sharpness),
)


PACKAGES = {"weightwatcher": "weightwatcher==0.7.7", "pyhessian": "pyhessian==0.1", "nngeom": "nngeom==0.2.0"}
"""The tools, and the versions that were tried."""


def installed_tools() -> dict[str, ModuleType]:
    """The modules of the tools that are installed, by name; one that cannot be imported counts as not installed."""
    found = {}
    for name in PACKAGES:
        try:
            with _quiet():
                found[name] = importlib.import_module(name)
        except Exception:  # an import of theirs may fail as it likes
            continue
    return found


NamedPoint = tuple[str, str, LossSurface, Point]
"""A network or a copy of it: its name, the kind of rescaling, its loss and its parameters."""


def foreign_rows(modules: Mapping[str, ModuleType], places: Sequence[NamedPoint]) -> Iterator[InvarianceRow]:
    """A row for each value of each tool.

    Args:
        modules: the tools, from :func:`installed_tools`.
        places: the network first.
    """
    for tool in FOREIGN_TOOLS:
        if tool.package in modules:
            yield _row(tool, modules[tool.package], places)


def _row(tool: ForeignTool, module: ModuleType, places: Sequence[NamedPoint]) -> InvarianceRow:
    version, readings, words = _version(tool.package), {}, {}
    for name, kind, surface, point in places:
        try:
            reading, words[name] = _said(tool, module, surface, point)
        except NotMeasurableError as error:
            return InvarianceRow(tool.label, marked_reason=error.marked_reason, tool=version)
        except Exception as error:  # theirs may fail as they like
            first = shown((str(error).splitlines() or [""])[0])
            reason = f"On {name} it fails: {type(error).__name__}: {first}"
            return InvarianceRow(tool.label, marked_reason=reason, tool=version)
        if not math.isfinite(reading.value):
            return InvarianceRow(tool.label, marked_reason=f"On {name} it gives {reading.value}.", tool=version)
        readings[name] = replace(reading, kind=kind)
    return InvarianceRow(tool.label, readings, _differences(words), version)


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return package


def _said(tool: ForeignTool, module: ModuleType, surface: LossSurface, point: Point) -> _Said:
    devices = [surface.device] if surface.device.type == "cuda" else []
    network = ExposedNetwork(surface, point)
    with _quiet(), torch.random.fork_rng(devices=devices), states_kept(), common_random_numbers(0):
        return tool.read(module, network)


def _differences(words: Mapping[str, str]) -> str:
    """What is said of the network itself, and of the copies of which something else is said."""
    original = words[ORIGINAL]
    others = [f"{name}: {said or 'none'}" for name, said in words.items() if said != original]
    return f"It flags {original or 'nothing'}; {'; '.join(others)}." if others else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to themselves what others print, warn of and log, and leave the root of logging as it was."""
    root, disabled = logging.getLogger(), logging.root.manager.disable
    handlers, level = [*root.handlers], root.level
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            logging.disable(logging.CRITICAL)
            yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)
