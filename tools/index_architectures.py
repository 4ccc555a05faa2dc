"""Rebuilds the index of known networks that travels with the package.

``python -m tools.index_architectures`` builds every image classifier of torchvision and timm in outline and writes
``bnsharp_cli/io/networks/architectures.json``; ``--only PATTERN`` prints the lines of some of them instead. Networks
that share all names and shapes are then built for real, given the same random weights and compared on two images: those
that compute the same function become one group.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bnsharp_cli.io.networks
from bnsharp_cli.io.networks.constructors import ARGUMENT_NAMES, construct_for_loading, family
from bnsharp_cli.io.networks.outline_index import index_entry, index_text
from bnsharp_cli.io.networks.outlines import Outline, outline_of

TARGET = Path(bnsharp_cli.io.networks.__file__).parent / "architectures.json"
_WITH_AND_WITHOUT = ({"aux_logits": True}, {"aux_logits": False})
VARIANTS = {"torchvision:googlenet": _WITH_AND_WITHOUT, "torchvision:inception_v3": _WITH_AND_WITHOUT}
"""Networks that torchvision itself hands out in two forms."""

_LARGEST = 400_000_000
"""Parameters of networks that are still built for real and compared; larger ones count as different functions."""

_SAME = 1e-9
_CLASSES = 10

Constructor = tuple[str, Mapping[str, Any]]


def known_specs() -> list[str]:
    """Every image classifier of torchvision and timm."""
    import timm
    from torchvision import models

    libraries = {"torchvision": models.list_models(module=models), "timm": timm.list_models()}
    return [f"{library}:{name}" for library, names in libraries.items() for name in sorted(names)]


def lines(specs: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The lines of the index for ``specs``, in their order; networks without a classifier are left out."""
    found: dict[tuple[object, ...], tuple[Outline, list[Constructor]]] = {}
    for number, spec in enumerate(specs):
        _progress(f"outline {number + 1}: {spec}")
        for options in VARIANTS.get(spec, ({},)):
            built = outline_of(spec, options)
            line = index_entry(built, ())
            key = (line["names"], line["shapes"], built.classes, built.channels)
            found.setdefault(key, (built, []))[1].append((spec, options))
    for built, constructors in found.values():
        if built.classes:
            yield index_entry(built, same_functions(constructors))


def same_functions(constructors: Sequence[Constructor]) -> list[list[str]]:
    """Constructors of one outline, grouped by the function that their networks compute from the same weights."""
    if len(constructors) == 1:
        return [[constructors[0][0]]]
    groups: list[tuple[list[str], Tensor | None]] = []
    for spec, options in constructors:
        _progress(f"function of {spec}")
        answer = _answer(spec, options)
        alike = next((names for names, other in groups if _same(answer, other)), None)
        if alike is None:
            groups.append(([spec], answer))
        else:
            alike.append(spec)
    return [names for names, _ in groups]


def _answer(spec: str, options: Mapping[str, Any]) -> Tensor | None:
    """What the network with fixed random weights says of two fixed images, in float64; None if it is too large."""
    module = construct_for_loading(spec, {ARGUMENT_NAMES[family(spec)].classes: _CLASSES, **options})
    if sum(parameter.numel() for parameter in module.parameters()) > _LARGEST:
        return None
    module = module.double().eval()
    _set_weights(module)
    size = _image_size(module)
    images = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = module(images)
    return output if isinstance(output, Tensor) else None


def _set_weights(module: nn.Module) -> None:
    """Matrices of the usual size, vectors and variances around ½, so that every part has its say."""
    generator = torch.Generator().manual_seed(0)
    for _, tensor in sorted(module.state_dict().items()):
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, dtype=tensor.dtype, generator=generator)
            narrow = tensor.ndim < 2
            tensor.copy_(noise / 10 + 0.5 if narrow else noise * math.sqrt(2 / max(1, tensor[0].numel())))


def _image_size(module: nn.Module) -> int:
    stated = getattr(module, "pretrained_cfg", None) or {}
    return int((stated.get("input_size") or (3, 224, 224))[-1])


def _same(answer: Tensor | None, other: Tensor | None) -> bool:
    """Whether two answers agree, beside what tells the two images apart."""
    if answer is None or other is None or answer.shape != other.shape:
        return False
    told_apart = float((answer[0] - answer[1]).abs().max())
    return 0 < told_apart < math.inf and float((answer - other).abs().max()) <= _SAME * told_apart


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{text[:79]}", end="", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the index, or print a part of it."""
    parser = argparse.ArgumentParser(prog="python -m tools.index_architectures", description=__doc__)
    parser.add_argument("--only", metavar="PATTERN", help="print the lines of these networks, such as 'timm:resnet*'")
    only = parser.parse_args(arguments).only
    specs = [spec for spec in known_specs() if only is None or fnmatch(spec, only)]
    versions = {library: version(library).partition("+")[0] for library in ("torchvision", "timm")}
    text = index_text(lines(specs), versions)
    if only is None:
        TARGET.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
