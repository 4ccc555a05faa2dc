"""Figures of a training run in TensorBoard, MLflow or Weights & Biases, each imported only when it is chosen."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.files.atomic_writing import require_writable_folder
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.io.files.printable_text import kind_and_line

TRACKER_SPECS = "tensorboard:DIR, mlflow:URI or wandb:PROJECT"

_TENSORBOARD, _REMOTE = "tensorboard", "://"
_DEFAULT_EXPERIMENT = "Default"
"""The experiment that servers of MLflow have from the beginning."""


class Tracker(Protocol):
    """Receives the figures of a run.

    Attributes:
        identity: the tracker's own name of the run, by which a resumed run continues it; empty where none is needed.
    """

    identity: str

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Send the figures of an epoch, counted from 1."""

    def close(self) -> None:
        """Send what was not sent yet, and end the run."""


class TensorBoard:
    """Event files of TensorBoard in a folder; a resumed run drops those of epochs that it trains again."""

    identity = ""

    def __init__(self, folder: str, name: str, options: Mapping[str, Any], identity: str, epoch: int) -> None:
        writer = _imported("torch.utils.tensorboard", "tensorboard").SummaryWriter
        self._writer = writer(f"{folder}/{name}", purge_step=epoch + 1)
        if not epoch:
            self._writer.add_text("options", "\n".join(f"    {key}: {value}" for key, value in options.items()))

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """See :class:`Tracker`."""
        self._writer.close()


class Mlflow:
    """A run of MLflow on a tracking server or in a folder; the process's own server and run stay what they are."""

    def __init__(self, uri: str, name: str, options: Mapping[str, Any], identity: str, epoch: int) -> None:
        self._client = _imported("mlflow").MlflowClient(tracking_uri=uri)
        if identity:
            self._client.update_run(identity, status="RUNNING")
            self.identity = identity
            return
        self.identity = str(self._client.create_run(self._experiment(), run_name=name).info.run_id)
        for key, value in options.items():
            self._client.log_param(self.identity, key, value)

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        for figure, value in figures.items():
            self._client.log_metric(self.identity, figure, value, step=epoch)

    def close(self) -> None:
        """See :class:`Tracker`."""
        self._client.set_terminated(self.identity)

    def _experiment(self) -> str:
        """The experiment that MLflow's own environment variables name, or its default one; made where it is new."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME")
        stated = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if stated and not name:
            return stated
        known = self._client.get_experiment_by_name(name or _DEFAULT_EXPERIMENT)
        return str(known.experiment_id if known else self._client.create_experiment(name or _DEFAULT_EXPERIMENT))


class Wandb:
    """A run in a project of Weights & Biases."""

    def __init__(self, project: str, name: str, options: Mapping[str, Any], identity: str, epoch: int) -> None:
        wandb = _imported("wandb")
        self._run = wandb.init(
            project=project, name=name, id=identity or None, resume="allow" if identity else None, config=dict(options)
        )
        self.identity = str(self._run.id)

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        self._run.log(dict(figures), step=epoch)

    def close(self) -> None:
        """See :class:`Tracker`."""
        self._run.finish()


_TRACKERS: Mapping[str, type[TensorBoard] | type[Mlflow] | type[Wandb]] = {
    _TENSORBOARD: TensorBoard,
    "mlflow": Mlflow,
    "wandb": Wandb,
}


def open_tracker(spec: str, name: str, options: Mapping[str, Any], identity: str = "", epoch: int = 0) -> Tracker:
    """The tracker of a specification such as ``mlflow:URI``.

    Args:
        spec: of the form of ``TRACKER_SPECS``.
        name: of the run.
        options: of the run, for its page.
        identity: what the tracker of the run that is resumed had as :attr:`Tracker.identity`; empty for a new run.
        epoch: how many epochs are done.

    Raises:
        UsageError: the tracker is unknown, not installed, or cannot be reached.
    """
    kind, argument = _parts(spec)
    try:
        return _TRACKERS[kind](argument, name, options, identity, epoch)
    except UsageError:
        raise
    except Exception as error:  # a tracker raises whatever its network and its disk give it reason to
        raise UsageError(
            f"{named('track')}: {kind} does not start: {kind_and_line(error)}.",
            "Check its address.",
            argument="track",
            expected="a tracker that can be reached",
            found=spec,
        ) from error


def require_tracker(spec: str, name: str) -> None:
    """Refuse, before any work, a specification that is none, and a folder of TensorBoard that cannot be written to.

    Args:
        spec: of the form of ``TRACKER_SPECS``.
        name: of the run.

    Raises:
        UsageError: naming what is wrong with it.
    """
    kind, argument = _parts(spec)
    if kind == _TENSORBOARD and _REMOTE not in argument:
        for folder in (Path(argument), Path(argument, name)):
            require_writable_folder(folder, "track")


def _parts(spec: str) -> tuple[str, str]:
    kind, _, argument = spec.partition(":")
    if kind not in _TRACKERS or not argument:
        raise UsageError.of("track", TRACKER_SPECS, spec, "Name a tracker.")
    return kind, argument


def _imported(module: str, package: str = "") -> ModuleType:
    package = package or module
    try:
        with importing_libraries():
            return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{named('track')}: {package} is not installed.",
            f"Install it with `pip install 'bnsharp[{package}]'`.",
            argument="track",
            expected="a tracker that is installed",
            found=package,
        ) from error
