"""Which network a checkpoint's weights belong to: what the user says, else the file, else its names and shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from bnsharp_cli.errors import BnsharpError, CheckpointRefusedError, UsageError
from bnsharp_cli.io.checkpoints.checkpoint import FORMAT, Checkpoint
from bnsharp_cli.io.checkpoints.model_directory import HUGGINGFACE
from bnsharp_cli.io.checkpoints.state_dicts import below, shared_prefixes, some
from bnsharp_cli.io.files.printable_text import one_line
from bnsharp_cli.io.networks import outline_index as index
from bnsharp_cli.io.networks.constructor_arguments import completed, fits
from bnsharp_cli.io.networks.constructors import OWN, construct, family, in_outline, installed, to_be_loaded
from bnsharp_cli.io.networks.forms import ALL_ARCHITECTURE_FORMS
from bnsharp_cli.io.networks.huggingface_networks import build_network
from bnsharp_cli.io.networks.outlines import Shapes, outline, shapes_of
from bnsharp_cli.io.networks.stated_architecture import require_bounded, require_known, stated_names
from bnsharp_cli.io.networks.weight_norm import composed, modern_names

Result = TypeVar("Result")

OPTION, METADATA, GUESS, UNKNOWN = "option", "metadata", "guess", "unknown"
_NEAREST = 3
_MOST_NAMES = 4
_SPARE_NUMBERS = 2**20


@dataclass(frozen=True)
class Candidate:
    """A network that weights may belong to.

    Attributes:
        spec: its constructor.
        shared: how many tensors have the same name and shape; all of them where it fits.
        tensors: how many tensors the weights and the network have together.
    """

    spec: str
    shared: int
    tensors: int

    def __str__(self) -> str:
        return self.spec if self.shared == self.tensors else f"{self.spec} ({self.shared} of {self.tensors} tensors)"


@dataclass(frozen=True)
class Identity:
    """The network that weights belong to, as far as it is known.

    Attributes:
        spec: its constructor; empty if unknown.
        options: all arguments of the constructor.
        source: whose word it is: ``option``, ``metadata``, ``guess`` or ``unknown``.
        notes: what the user should know about it, a line each.
        candidates: networks that the weights fit as well as another, or nearly.
    """

    spec: str
    options: Mapping[str, Any]
    source: str
    notes: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()

    def build(self, checkpoint: Checkpoint) -> nn.Module:
        """The network, with memory for the weights but not yet with them.

        Raises:
            UsageError: it is unknown, or cannot be built.
            CheckpointRefusedError: the weights are of a far smaller network.
        """
        if not self.spec:
            raise self.unknown(str(checkpoint.path))
        kind, _, directory = self.spec.partition(":")
        if kind == HUGGINGFACE:
            return build_network(Path(directory), checkpoint.state_dict)
        if family(self.spec):
            self._require_size(checkpoint)
        return _attempt(self.spec, self.source, lambda: to_be_loaded(self.spec, self.options))

    def _require_size(self, checkpoint: Checkpoint) -> None:
        whole = _attempt(self.spec, self.source, lambda: in_outline(self.spec, self.options)).state_dict()
        needed, held = (sum(t.numel() for t in tensors.values()) for tensors in (whole, checkpoint.state_dict))
        if needed > 2 * held + _SPARE_NUMBERS:
            raise CheckpointRefusedError(
                f"{checkpoint.path} holds {held:,} numbers, {self.spec} would need {needed:,}.",
                "Name the right network with --arch (and --arch-option).",
            )

    def unknown(self, path: str) -> UsageError:
        """Why nothing can be built, and what may be meant."""
        said = "".join(f" {note}." for note in self.notes)
        fitting = [candidate.spec for candidate in self.candidates if candidate.shared == candidate.tensors]
        if fitting:
            absent = [spec for spec in fitting if not installed(spec)]
            if len(absent) == len(fitting):
                return UsageError(f"{path} fits {some(fitting, 5)}, but timm is not installed.", "pip install timm")
            return UsageError(
                f"{path} does not say which network its weights belong to, and several fit them: {some(fitting, 8)}.",
                f"Say which, for example --arch {fitting[0]}.",
            )
        near = f" Nearest: {some(map(str, self.candidates), _NEAREST)}." if self.candidates else ""
        return UsageError(
            f"{path} does not say which network its weights belong to, and none known here has its names and shapes."
            f"{said}{near}",
            "Name it with --arch, for example --arch torchvision:resnet18 or --arch file.py:factory.",
        )


def build_architecture(spec: str, options: Mapping[str, Any]) -> nn.Module:
    """Build a network by name, with its initial weights.

    Args:
        spec: one of ``ALL_ARCHITECTURE_FORMS``.
        options: keyword arguments of the constructor.

    Raises:
        UsageError: an unknown name or option.
    """
    return _attempt(spec, OPTION, lambda: construct(spec, options))


def identify(checkpoint: Checkpoint, arch: str | None = None, options: Mapping[str, Any] | None = None) -> Identity:
    """Find out which network the weights of a checkpoint belong to.

    The user's word wins; then the file's own, which is a stranger's: it can name no code to import, and only known
    networks whose outline the weights have; then the one constructor of torchvision and timm whose network has their
    names and shapes, or torchvision's where timm has variants of it. What the arguments leave open is read off the
    shapes.

    Args:
        checkpoint: verified weights.
        arch: one of ``ALL_ARCHITECTURE_FORMS``, the user's word.
        options: arguments of the constructor, the user's word.

    Raises:
        UsageError: an unknown name or option.
        CheckpointRefusedError: a file of our own format that asks for code to import, or for arguments out of bounds.
    """
    given = dict(options or {})
    readings = _readings(checkpoint.state_dict)
    if arch is not None:
        return _told(arch, given, readings, OPTION)
    stated = str(checkpoint.metadata.get("architecture", ""))
    if checkpoint.format == FORMAT and stated:
        bounded = require_bounded(checkpoint.metadata.get("architecture_options"))
        return _told(require_known(stated), {**bounded, **given}, readings, METADATA)
    if checkpoint.format == HUGGINGFACE and stated.startswith(f"{HUGGINGFACE}:"):
        return Identity(stated, given, METADATA)
    notes = []
    for name, meanings in islice(stated_names(checkpoint.metadata), _MOST_NAMES):
        found = _fitting(meanings, given, readings)
        if found is not None:
            return Identity(*found, METADATA)
        notes.append(f"the file calls its network '{one_line(name)}', but that is none known here whose shapes it has")
    return _guessed(readings, given, tuple(notes))


def _told(spec: str, options: dict[str, Any], readings: list[Shapes], source: str) -> Identity:
    if not family(spec):
        if not spec.partition(":")[2]:
            raise UsageError(f"Unknown architecture '{one_line(spec)}'.", f"Use one of: {ALL_ARCHITECTURE_FORMS}.")
        return Identity(spec, options, source)

    def complete() -> dict[str, Any]:
        found = [(completed(spec, options, shapes), shapes) for shapes in readings]
        return max(found, key=lambda pair: fits(spec, *pair))[0]

    return Identity(spec, _attempt(spec, source, complete), source)


def _fitting(specs: list[str], given: dict[str, Any], readings: list[Shapes]) -> tuple[str, dict[str, Any]] | None:
    """The first of ``specs`` that is there and whose network has the shapes, with its arguments."""
    for spec in filter(installed, specs):
        try:
            known = outline(spec, given).keys()
            for shapes in readings:
                if shapes.keys() <= known and fits(spec, options := completed(spec, given, shapes), shapes):
                    return spec, options
        except Exception:  # a name that is none of its library's, or arguments that its constructor refuses
            continue
    return None


def _guessed(readings: list[Shapes], given: dict[str, Any], notes: tuple[str, ...]) -> Identity:
    own = _fitting(list(OWN), given, readings)
    if own is not None:
        return Identity(*own, GUESS, notes)
    functions = [group for shapes in readings for known in index.matches(shapes) for group in known.functions]
    here = [found for group in functions if (found := _fitting(list(group), given, readings)) is not None]
    chosen = here[0] if len(here) == 1 else _stock(here)
    if chosen is not None:
        alike = next(group for group in functions if chosen[0] in group)
        same = [spec for spec in alike if spec != chosen[0]]
        other = [spec for spec, _ in here if spec != chosen[0]]
        said = [f"{some(same, 3)} computes the same"] if same else []
        said += [f"{some(other, 3)} has the same names and shapes, and computes something else"] if other else []
        return Identity(*chosen, GUESS, (*notes, *said))
    fitting = [spec for spec, _ in here] or [group[0] for group in functions]
    if fitting:
        count = len(readings[0])
        return Identity("", given, UNKNOWN, notes, tuple(Candidate(spec, count, count) for spec in fitting))
    return Identity("", given, UNKNOWN, notes, tuple(_nearest(readings)))


def _stock(found: list[tuple[str, dict[str, Any]]]) -> tuple[str, dict[str, Any]] | None:
    """The only one of torchvision's among variants of other libraries, such as resnet18 beside timm's resnetblur18."""
    stock = [pair for pair in found if pair[0].startswith("torchvision:")]
    return stock[0] if len(stock) == 1 else None


def _nearest(readings: list[Shapes]) -> Iterator[Candidate]:
    """The known networks that share most names and shapes with the weights, best first."""
    shapes = readings[-1]
    found = []
    for known in index.nearest(shapes, 2 * _NEAREST):
        spec = next((spec for group in known.functions for spec in group if installed(spec)), None)
        if spec is not None:
            other = shapes_of(in_outline(spec, {}).state_dict())
            shared = sum(other.get(name) == shape for name, shape in shapes.items())
            found.append(Candidate(spec, shared, len(shapes) + len(other) - shared))
    yield from sorted(found, key=lambda one: -one.shared / one.tensors)[:_NEAREST]


def _readings(tensors: Mapping[str, Tensor]) -> list[Shapes]:
    """Names and shapes, as they are and without each leading part that all names share, or most; weight norm undone."""
    plain = composed(modern_names(tensors))
    (common, count), *_ = Counter(name.partition(".")[0] for name in plain).most_common(1) or [("", 0)]
    prefixes = shared_prefixes(plain)
    if len(plain) / 2 < count < len(plain):  # beside it a loss, or a metric
        prefixes += [f"{common}.{inner}" for inner in shared_prefixes(below(plain, f"{common}."))]
    return [shapes_of(below(plain, prefix)) for prefix in prefixes]


def _attempt(spec: str, source: str, build: Callable[[], Result]) -> Result:
    """What ``build`` gives; whatever else it raises is the fault of whoever named the network."""
    try:
        return build()
    except BnsharpError as error:
        if source == METADATA and isinstance(error, UsageError):
            raise CheckpointRefusedError(error.reason, error.remedy) from error
        raise
    except Exception as error:  # a constructor, perhaps the user's, raises whatever it likes
        reason = f"Cannot build '{one_line(spec)}': {one_line(error)}."
        if source == OPTION:
            raise UsageError(reason, f"Use one of: {ALL_ARCHITECTURE_FORMS}; see --arch-option.") from error
        raise CheckpointRefusedError(reason, "Name the right network with --arch.") from error
