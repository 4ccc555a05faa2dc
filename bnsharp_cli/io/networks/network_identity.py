"""The network that a checkpoint's weights belong to, as far as it is known, and how it is built."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from bnsharp_cli.errors import BnsharpError, CheckpointRefusedError, UsageError, named
from bnsharp_cli.io.checkpoints.checkpoint import Checkpoint
from bnsharp_cli.io.checkpoints.entries import some
from bnsharp_cli.io.checkpoints.model_directory import HUGGINGFACE, read_configuration
from bnsharp_cli.io.checkpoints.state_dicts import NamedTensors
from bnsharp_cli.io.files.printable_text import one_line, shown_path
from bnsharp_cli.io.networks.constructor_arguments import completed, has_shapes
from bnsharp_cli.io.networks.constructors import construct, construct_for_loading, construct_on_meta, family, installed
from bnsharp_cli.io.networks.factories import import_factory
from bnsharp_cli.io.networks.forms import ALL_ARCHITECTURE_FORMS
from bnsharp_cli.io.networks.huggingface_networks import build_network
from bnsharp_cli.io.networks.outline_limits import SPARE_NUMBERS
from bnsharp_cli.io.networks.outlines import all_shapes, shapes_of
from bnsharp_cli.io.networks.suggestions import unknown_network
from bnsharp_cli.io.networks.weight_norm import composed, modern_names

Built = TypeVar("Built")

OPTION, METADATA, GUESS, UNKNOWN = "option", "metadata", "guess", "unknown"
_SHOWN = 3


@dataclass(frozen=True)
class Candidate:
    """A known network beside some weights.

    Attributes:
        spec: its constructor.
        shared: how many tensors have the same name and shape; all of them where the weights fit it.
        tensors: how many tensors the weights and the network have together.
    """

    spec: str
    shared: int
    tensors: int

    @property
    def fits(self) -> bool:
        """Whether the weights have exactly its names and shapes."""
        return self.shared == self.tensors

    def __str__(self) -> str:
        return self.spec if self.fits else f"{self.spec} ({self.shared} of {self.tensors} tensors)"


@dataclass(frozen=True)
class NetworkIdentity:
    """The network that weights belong to, as far as it is known.

    Attributes:
        spec: its constructor; empty if unknown.
        options: all arguments of the constructor.
        source: what it is known from: ``option`` (the user said so), ``metadata`` (the file says so), ``guess`` (from
            names and shapes); or ``unknown``.
        notes: what the user should know about it, a line each.
        candidates: networks that the weights fit as well as another, or nearly.
        given: the arguments among ``options`` that the user gave.
    """

    spec: str
    options: Mapping[str, Any]
    source: str
    notes: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)

    def fits(self, tensors: NamedTensors) -> bool:
        """Whether the user would get a network for these weights from the same arguments, were they the whole file."""
        if self.source != OPTION or not family(self.spec):
            return False
        shapes = shapes_of(composed(modern_names(tensors)))
        return built(self.spec, OPTION, lambda: has_shapes(self.spec, completed(self.spec, self.given, shapes), shapes))

    def build(self, checkpoint: Checkpoint) -> nn.Module:
        """The network, with memory for the weights but not yet with them.

        Raises:
            UsageError: it is unknown, or cannot be built.
            CheckpointRefusedError: the weights are of a far smaller network.
        """
        return self._network(checkpoint, construct_for_loading, outline=False)

    def outline(self, checkpoint: Checkpoint) -> nn.Module | None:
        """The network on the meta device; None for a function of the user's, which is called only to build.

        Args:
            checkpoint: of which the outline is enough.

        Raises: as :meth:`build`.
        """
        if self.spec and not self._is_of_a_library:
            return None
        return self._network(checkpoint, construct_on_meta, outline=True)

    @property
    def _is_of_a_library(self) -> bool:
        return bool(family(self.spec)) or self.spec.startswith(f"{HUGGINGFACE}:")

    def _network(
        self, checkpoint: Checkpoint, construct: Callable[[str, Mapping[str, Any]], nn.Module], *, outline: bool
    ) -> nn.Module:
        if not self.spec:
            raise self.unknown(checkpoint.path)
        library, _, directory = self.spec.partition(":")
        if library == HUGGINGFACE:
            read = self.source == METADATA
            configuration = checkpoint.metadata["config"] if read else read_configuration(Path(directory))
            return build_network(Path(directory), configuration, checkpoint.state_dict, outline=outline)
        if family(self.spec):
            self._require_size(checkpoint)
        return built(self.spec, self.source, lambda: construct(self.spec, self.options))

    def _require_size(self, checkpoint: Checkpoint) -> None:
        whole = built(self.spec, self.source, lambda: all_shapes(self.spec, self.options))
        needed = sum(map(math.prod, whole.values()))
        held = sum(tensor.numel() for tensor in checkpoint.state_dict.values())
        if needed > 2 * held + SPARE_NUMBERS:
            raise CheckpointRefusedError(
                f"{shown_path(checkpoint.path)} holds {held:,} numbers, {one_line(self.spec)} would need {needed:,}.",
                f"Name the right network with {named('arch')} (and {named('arch_option')}).",
                subject=checkpoint.path,
            )

    def unknown(self, path: Path) -> UsageError:
        """Why no network can be built for the checkpoint at ``path``, and which ones are likely."""
        fitting = [candidate.spec for candidate in self.candidates if candidate.fits]
        if fitting:
            return _ambiguous(path, fitting)
        said = "".join(f" {note}." for note in self.notes)
        example = self.candidates[0].spec if self.candidates else "torchvision:resnet18"
        near = f" Nearest: {some(map(str, self.candidates), _SHOWN)}." if self.candidates else ""
        return UsageError(
            f"{shown_path(path)} does not say which network its weights belong to, and none known here has its names "
            f"and shapes.{said}{near}",
            f"Name it with {named('arch')}, for example {named('arch')} {example} or {named('arch')} file.py:factory.",
            argument="arch",
            expected=ALL_ARCHITECTURE_FORMS,
            subject=path,
        )


def build_architecture(spec: str, options: Mapping[str, Any]) -> nn.Module:
    """Build a network by name, with its initial weights.

    Args:
        spec: one of ``ALL_ARCHITECTURE_FORMS``.
        options: keyword arguments of the constructor.

    Raises:
        UsageError: an unknown name or option.

    >>> build_architecture("lenet-bn", {"classes": 5}).output
    Linear(in_features=84, out_features=5, bias=True)
    """
    return built(spec, OPTION, lambda: construct(spec, options))


def require_architecture(spec: str, options: Mapping[str, Any]) -> None:
    """Refuse what :func:`build_architecture` refuses, in outline: no weights are made, no function of a user's called.

    Args:
        spec: one of ``ALL_ARCHITECTURE_FORMS``.
        options: keyword arguments of the constructor, as far as they are known.

    Raises:
        UsageError: an unknown name or option.
    """
    if family(spec):
        built(spec, OPTION, lambda: construct_on_meta(spec, options))
    elif ":" in spec:
        import_factory("arch", spec)
    else:
        raise unknown_network(spec)


def built(spec: str, source: str, build: Callable[[], Built]) -> Built:
    """Call ``build``. A failure blames the user if the user named the network, else the file.

    Args:
        spec: the network.
        source: as in ``NetworkIdentity``.
        build: builds the network or a part of the answer.

    Raises:
        UsageError: the user named a network that cannot be built.
        CheckpointRefusedError: the file did.
    """
    try:
        return build()
    except UsageError as error:
        if source != METADATA:
            raise
        raise CheckpointRefusedError(
            error.marked_reason, error.marked_remedy, subject=error.subject, **error.fields
        ) from error
    except BnsharpError:
        raise
    except Exception as error:  # a constructor, perhaps the user's, raises whatever it likes
        reason = f"Cannot build '{one_line(spec)}': {one_line(error)}."
        if source != OPTION:
            raise CheckpointRefusedError(reason, f"Name the right network with {named('arch')}.") from error
        remedy = f"Use one of: {ALL_ARCHITECTURE_FORMS}; see {named('arch_option')}."
        raise UsageError(reason, remedy, argument="arch", expected=ALL_ARCHITECTURE_FORMS, found=spec) from error


def _ambiguous(path: Path, fitting: list[str]) -> UsageError:
    """The weights fit several networks, or only some of a library that is not installed."""
    if not any(map(installed, fitting)):
        return UsageError(
            f"{shown_path(path)} fits {some(fitting, 5)}, but timm is not installed.",
            "pip install timm",
            argument="arch",
            expected="a network of a library that is installed",
            found=some(fitting, 5),
            subject=path,
        )
    return UsageError(
        f"{shown_path(path)} does not say which network its weights belong to, and several fit them: "
        f"{some(fitting, 8)}.",
        f"Say which, for example {named('arch')} {fitting[0]}.",
        argument="arch",
        expected=f"one of {some(fitting, 8)}",
        subject=path,
    )
