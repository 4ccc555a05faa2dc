"""Building the network that a checkpoint's weights belong to."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bnsharp_cli.errors import BnsharpError, CheckpointRefusedError, UsageError
from bnsharp_cli.io import huggingface
from bnsharp_cli.io.factories import run_factory
from bnsharp_cli.io.text import one_line
from bnsharp_cli.models import lenet_bn, vgg11_bn

OWN = {"lenet-bn": lenet_bn, "vgg11-bn": vgg11_bn}
FORMS = "lenet-bn, vgg11-bn, torchvision:NAME, timm:NAME, package.module:factory, path/to/file.py:factory"
_CONVOLUTION, _MATRIX = 4, 2


def build_architecture(
    spec: str,
    options: Mapping[str, Any],
    weights: Mapping[str, Tensor] | None = None,
    *,
    trusted: bool = True,
) -> nn.Module:
    """Build a network by name.

    Args:
        spec: one of ``FORMS``.
        options: keyword arguments of the constructor; what they leave open is read off the shapes of ``weights``.
        weights: the checkpoint's tensors, if there are any.
        trusted: False where ``spec`` comes from a checkpoint: then a user's own factory is not imported.

    Raises:
        UsageError: an unknown name or option.
        CheckpointRefusedError: an untrusted spec that would run code.
    """
    kind, _, name = spec.partition(":")
    if kind == huggingface.KIND:
        return huggingface.build_network(Path(name), weights or {})
    known = kind in {"torchvision", "timm"}
    if spec not in OWN and not (known and name.replace("_", "").replace(".", "").isalnum()):
        if not trusted:
            raise CheckpointRefusedError(
                f"The checkpoint asks for the network '{one_line(spec)}', which would import code.",
                f"If that code is yours, say so with --arch {one_line(spec)}.",
            )
        if not name:
            raise UsageError(f"Unknown architecture '{one_line(spec)}'.", f"Use one of: {FORMS}.")
    defaults = _read_off(spec, kind, weights or {})
    try:
        return _construct(spec, kind, name, {**defaults, **options})
    except BnsharpError:
        raise
    except Exception as error:  # a constructor, perhaps the user's, raises whatever it likes
        raise UsageError(
            f"Cannot build '{one_line(spec)}': {one_line(error)}.", f"Use one of: {FORMS}; see --arch-option."
        ) from error


def _construct(spec: str, kind: str, name: str, options: dict[str, Any]) -> nn.Module:
    if spec in OWN:
        unknown = set(options) - set(inspect.signature(OWN[spec]).parameters)
        if unknown:
            raise UsageError(f"{spec} has no option {', '.join(sorted(unknown))}.", "See --arch-option in --help.")
        return OWN[spec](**options)
    if kind == "torchvision":
        from torchvision import models

        if name not in models.list_models(module=models):  # the others would fetch the weights of a backbone
            raise UsageError(f"torchvision has no image classifier '{one_line(name)}'.", "Name one of its classifiers.")
        module: nn.Module = models.get_model(name, weights=None, **options)
    elif kind == "timm":
        module = _timm(name, options)
    else:
        module = run_factory(spec, **options)
    if not isinstance(module, nn.Module):
        raise UsageError(f"{spec} returned {type(module).__name__}, expected a torch.nn.Module.", "Return a module.")
    return module


def _timm(name: str, options: dict[str, Any]) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise UsageError("timm is not installed.", "Install it with `pip install timm`.") from error
    module: nn.Module = timm.create_model(name, pretrained=False, **options)
    return module


def _read_off(spec: str, kind: str, weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Constructor arguments that the shapes of the weights determine."""
    matrices = [tensor for tensor in weights.values() if tensor.ndim == _MATRIX]
    convolutions = [tensor for tensor in weights.values() if tensor.ndim == _CONVOLUTION]
    if not matrices or not convolutions:
        return {}
    classes = len(matrices[-1])
    if kind in {"torchvision", "timm"}:
        return {"num_classes": classes}
    if spec not in OWN:
        return {}
    options = {"in_channels": convolutions[0].shape[1], "classes": classes}
    if spec == "lenet-bn":
        side = round((matrices[0].shape[1] / 16) ** 0.5)
        options["image_size"] = 4 * side if side < 4 else 4 * side + 12
    return options
