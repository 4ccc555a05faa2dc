"""Constructing a network by name: for real, without drawing weights that are replaced anyway, or only in outline."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from bnsharp_cli.errors import UsageError, named, shown
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.io.files.printable_text import one_line
from bnsharp_cli.io.networks.factories import in_users_code, run_factory
from bnsharp_cli.io.networks.forms import LIBRARIES, is_built_by_name
from bnsharp_cli.io.networks.suggestions import meant_networks, suggestion, unknown_network
from bnsharp_cli.models import lenet_bn, vgg11_bn

OWN = {"lenet-bn": lenet_bn, "vgg11-bn": vgg11_bn}
COLOURS = 3
"""Input channels of the networks of torchvision and timm unless another number is asked for."""

_REAL_ON_META = (torch.arange, torch.linspace, torch.tensor)
_DRAWING = {"normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_uniform_"}


@dataclass(frozen=True)
class ArgumentNames:
    """What a family of constructors calls the number of classes and of input channels."""

    classes: str
    channels: str


ARGUMENT_NAMES = {
    "own": ArgumentNames("classes", "in_channels"),
    "torchvision": ArgumentNames("num_classes", "in_channels"),
    "timm": ArgumentNames("num_classes", "in_chans"),
}


_SIDES = ("image_size", "img_size")
_EXAMPLES = {"in_channels": COLOURS, "in_chans": COLOURS, **dict.fromkeys(_SIDES, 224)}


def family(spec: str) -> str:
    """``own``, ``torchvision``, ``timm``, or an empty string for a user's factory and anything else."""
    if spec in OWN:
        return "own"
    return spec.partition(":")[0] if is_built_by_name(spec) else ""


def installed(spec: str) -> bool:
    """Whether the library of ``spec`` is there."""
    return family(spec) != "timm" or importlib.util.find_spec("timm") is not None


def import_library(spec: str) -> None:
    """Import the library of ``spec`` now, if it has one and that is there."""
    if family(spec) in LIBRARIES and installed(spec):
        importlib.import_module({"torchvision": "torchvision.models", "timm": "timm"}[family(spec)])


def construct(spec: str, options: Mapping[str, Any]) -> nn.Module:
    """The network ``spec``, one of ``ALL_ARCHITECTURE_FORMS``, with its initial weights.

    Raises:
        UsageError: an unknown name or option, or no positive number of classes, channels or pixels. A constructor may
            raise anything else.
    """
    _require_positive(spec, options)
    return _BUILDERS[family(spec)](spec, dict(options))


def _require_positive(spec: str, options: Mapping[str, Any]) -> None:
    """Refuse what libraries build something else from, or answer with a word about negative dimensions."""
    if not family(spec):
        return
    for name in (*vars(ARGUMENT_NAMES[family(spec)]).values(), *_SIDES):
        value = options.get(name)
        if isinstance(value, int) and value < 1:
            raise UsageError.of(
                "arch_option", f"{name} from 1 on", f"{name}={value}", f"For example {name}={_EXAMPLES.get(name, 10)}."
            )


def construct_on_meta(spec: str, options: Mapping[str, Any]) -> nn.Module:
    """The network on the meta device: names and shapes without a byte of weights. Raises as :func:`construct`."""
    with torch.device("meta"), _RealRanges() if family(spec) == "torchvision" else contextlib.nullcontext():
        return construct(spec, _undrawn(spec, options))


def construct_for_loading(spec: str, options: Mapping[str, Any]) -> nn.Module:
    """The network with memory for its weights, but none drawn where a library would. Raises as :func:`construct`."""
    with NothingDrawn() if family(spec) in LIBRARIES else contextlib.nullcontext():
        return construct(spec, _undrawn(spec, options))


def _own(spec: str, options: dict[str, Any]) -> nn.Module:
    """One of the paper's networks."""
    unknown = set(options) - set(inspect.signature(OWN[spec]).parameters)
    if unknown:
        raise UsageError(
            f"{spec} has no option {shown(', '.join(sorted(unknown)))}.",
            f"See {named('arch_option')} in {named('help')}.",
            argument="arch_option",
            expected=f"options of {spec}",
            found=", ".join(sorted(unknown)),
        )
    return OWN[spec](**options)


def _torchvision(spec: str, options: dict[str, Any]) -> nn.Module:
    with importing_libraries():
        from torchvision import models

    name = spec.partition(":")[2]
    if name not in models.list_models(module=models):  # the others would fetch the weights of a backbone
        raise UsageError(
            f"torchvision has no image classifier '{one_line(name)}'.",
            suggestion(meant_networks(spec), "Name one of its classifiers."),
            argument="arch",
            expected="an image classifier of torchvision",
            found=spec,
        )
    channels = options.pop(ARGUMENT_NAMES["torchvision"].channels, COLOURS)
    module: nn.Module = models.get_model(name, weights=None, **options)
    if channels != COLOURS:
        _replace_first_convolution(module, channels)
    return module


def _replace_first_convolution(module: nn.Module, channels: int) -> None:
    """Let a network of torchvision's, which has no argument for it, take images of another number of channels."""
    name, first = next((name, part) for name, part in module.named_modules() if isinstance(part, nn.Conv2d))
    kept = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    replacement = nn.Conv2d(
        channels,
        first.out_channels,
        bias=first.bias is not None,
        **{key: getattr(first, key) for key in kept},
    )
    module.set_submodule(name, replacement)


def _timm(spec: str, options: dict[str, Any]) -> nn.Module:
    try:
        with importing_libraries():
            import timm
    except ImportError as error:
        raise UsageError(
            "timm is not installed.",
            "Install it with `pip install timm`.",
            argument="arch",
            expected="a network of a library that is installed",
            found=spec,
        ) from error
    name = spec.partition(":")[2]
    if not timm.is_model(name):  # timm takes other names for the address of a hub, or for a folder
        raise UsageError(
            f"timm has no image classifier '{one_line(name)}'.",
            suggestion(meant_networks(spec), "Name one of its classifiers."),
            argument="arch",
            expected="an image classifier of timm",
            found=spec,
        )
    module: nn.Module = timm.create_model(name, pretrained=False, **options)
    return module


def _users(spec: str, options: dict[str, Any]) -> nn.Module:
    if ":" not in spec:
        raise unknown_network(spec)
    module = run_factory("arch", spec, **options)
    if not isinstance(module, nn.Module):
        found = type(module).__name__
        raise UsageError(
            f"{shown(spec)} returned {found}, expected a torch.nn.Module.",
            "Return a module.",
            argument="arch",
            expected="a function that returns a torch.nn.Module",
            found=found,
        )
    in_users_code(module, spec)
    return module


_BUILDERS: Mapping[str, Callable[[str, dict[str, Any]], nn.Module]] = {
    "own": _own,
    "torchvision": _torchvision,
    "timm": _timm,
    "": _users,
}


def _undrawn(spec: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that keep two networks of torchvision from drawing their weights with scipy, one by one."""
    slow = spec in {"torchvision:googlenet", "torchvision:inception_v3"}
    return {**({"init_weights": False} if slow else {}), **options}


class _RealRanges(TorchFunctionMode):
    """Ranges and constants stay real, since RegNet computes its widths with them."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return func(*args, **({"device": "cpu", **kwargs} if func in _REAL_ON_META else kwargs))


class NothingDrawn(TorchFunctionMode):
    """While it is entered, initial weights keep whatever their memory held.

    Other tensors are drawn: torch draws those again and again that are to lie within bounds, until they do.
    """

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in _DRAWING:
            drawn = args[0] if args else (kwargs or {})["tensor"]
            if isinstance(drawn, nn.Parameter):
                return drawn
        return func(*args, **(kwargs or {}))
