"""A checkpoint's network on batches of data, and what can be said of the two before anything is measured."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import nn

from bnsharp_cli import __version__
from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import spelt
from bnsharp_cli.io.checkpoints.checkpoint import Checkpoint
from bnsharp_cli.io.data.batches import DrawnBatches
from bnsharp_cli.io.data.criteria import NamedCriterion
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.networks.network_identity import NetworkIdentity
from bnsharp_cli.measurement.measures.generalization import Generalization
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.real_pairs import as_real
from bnsharp_cli.workflows.options import Data

Spelling = Callable[[str], str]
"""How an argument that a sentence names is written: ``str`` leaves its name in Python."""


@dataclass(frozen=True)
class CheckpointNetwork:
    """A network with the weights of a checkpoint.

    Attributes:
        checkpoint: as read, with what was noticed on the way.
        identity: which network it is, and who said so.
        module: the network.
    """

    checkpoint: Checkpoint
    identity: NetworkIdentity
    module: nn.Module


@dataclass(frozen=True)
class TextData:
    """How a text was cut into examples.

    Attributes:
        context: tokens that the network sees at once at most.
        unit: what an example is: ``window`` or ``text``.
        tokens: how many tokens of each batch count, where the loss is a mean over tokens; else empty.
        tokenizer_sha256: digest of ``tokenizer.json``.
    """

    context: int
    unit: str
    tokens: tuple[int, ...]
    tokenizer_sha256: str

    def to_dict(self) -> dict[str, Any]:
        """The ``text`` entry of a document."""
        return {**vars(self), "tokens": list(self.tokens)}


@dataclass(frozen=True)
class LossOnData:
    """A loss on a fixed list of batches.

    Attributes:
        spec: the data set, as it was named.
        split: which of its splits.
        batches: all of them.
        preprocessing: what was done to the images.
        criterion: the loss of a batch.
        classes: names of the class folders that the labels come from; empty for other data.
        text: how it was cut into examples, if it is text.
    """

    spec: str
    split: str
    batches: DrawnBatches
    preprocessing: Preprocessing
    criterion: NamedCriterion
    classes: tuple[str, ...]
    text: TextData | None = None

    def to_dict(self, seed: int) -> dict[str, Any]:
        """The ``data`` entry of a document.

        Args:
            seed: of the draw.
        """
        return {
            "spec": self.spec,
            "split": self.split,
            "samples": self.batches.samples,
            "available": self.batches.sizes.available,
            "batch_size": self.batches.batch_size,
            "seed": seed,
            "sha256": self.batches.sha256,
            "preprocessing": self.preprocessing.to_dict(),
            **({"classes": list(self.classes)} if self.classes else {}),
            **({"text": self.text.to_dict()} if self.text else {}),
        }


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network on its batches, ready to be measured.

    Attributes:
        opened: the network, with the weights of the checkpoint.
        data_options: the data as the user or the checkpoint describes it.
        data: the loss.
        surface: the loss as a function of the parameters.
        point: the parameters.
        batch_losses: the losses of the batches there, times their weights.
        batch_accuracies: the accuracies of the batches, times their parts of the labels; empty where there are no
            classes.
        accuracy: share of right answers, in [0, 1]; None where there are no classes.
        test: the loss on test data, and what the network does there; None where none was named.
        warning: why this is hardly the loss that was trained; empty where nothing speaks for that.
    """

    opened: CheckpointNetwork
    data_options: Data
    data: LossOnData
    surface: LossSurface
    point: Point
    batch_losses: tuple[float, ...]
    batch_accuracies: tuple[float, ...]
    accuracy: float | None
    test: tuple[LossOnData, Generalization] | None = None
    warning: str = ""

    @property
    def loss(self) -> float:
        """L at the parameters."""
        return math.fsum(self.batch_losses) / len(self.batch_losses)

    @property
    def checkpoint(self) -> Checkpoint:
        """The file of the checkpoint."""
        return self.opened.checkpoint

    @property
    def architecture(self) -> str:
        """The constructor of the network."""
        return self.opened.identity.spec

    @property
    def parameters(self) -> int:
        """How many numbers the network's parameters are, whether they are varied or not."""
        return sum(as_real(tensor.detach()).numel() for tensor in self.surface.module.parameters())

    def document(self, command: str, options: Mapping[str, Any], spelling: Spelling) -> dict[str, Any]:
        """The part of the JSON document that all commands share.

        Args:
            command: that measures.
            options: the options of the measures.
            spelling: of the arguments that sentences name.
        """
        return {
            "schema": "bnsharp/1",
            "command": command,
            "version": __version__,
            "checkpoint": self._checkpoint_entry(spelling),
            "data": self.data.to_dict(self.data_options.seed),
            "environment": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": numpy.__version__,
                "device": str(self.surface.device),
                "dtype": _name(self.surface.dtype),
                "threads": torch.get_num_threads(),
                "world_size": self.surface.processes.count,
            },
            "loss": self.loss,
            "batch_losses": list(self.batch_losses),
            "accuracy": self.accuracy,
            "batch_accuracies": list(self.batch_accuracies),
            "parameters": {} if self.surface.choice is None else self.surface.choice.to_dict(),
            "warning": self.warning or None,
            "notes": [*self.surface.conduct.notes, *([self.warning] if self.warning else [])],
            "options": {**options, **self._loss_options()},
        }

    def test_entry(self) -> dict[str, Any] | None:
        """The ``test`` entry of a document; None where no test data was named."""
        if self.test is None:
            return None
        data, found = self.test
        return {"data": data.to_dict(self.data_options.seed), **found.to_dict()}

    @property
    def passes(self) -> Cost:
        """All passes so far, those that find out how to measure included."""
        return self.surface.counter.all

    def cost(self, seconds: float) -> dict[str, Any]:
        """All passes so far, and the time."""
        return {**vars(self.passes), "seconds": seconds}

    def _loss_options(self) -> dict[str, Any]:
        chosen = self.data_options.output_key
        own = {"bn": self.data_options.bn, "loss": self.data.criterion.name}
        return own if chosen is None else {**own, "output_key": chosen}

    def _checkpoint_entry(self, spelling: Spelling) -> dict[str, Any]:
        return {
            "path": str(self.checkpoint.path),
            "sha256": self.checkpoint.sha256,
            "format": self.checkpoint.format,
            "key": self.checkpoint.key,
            "notes": [spelt(note, spelling) for note in self.checkpoint.notes],
            "architecture": self.architecture,
            "architecture_source": self.opened.identity.source,
            "parameters": self.parameters,
        }


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
