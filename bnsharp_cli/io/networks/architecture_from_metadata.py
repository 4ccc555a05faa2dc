"""Finds the network that a checkpoint's untrusted entries name; only names and arguments known here come out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bnsharp_cli.errors import CheckpointRefusedError, named
from bnsharp_cli.io.files.printable_text import one_line, printable
from bnsharp_cli.io.networks.constructors import OWN, family
from bnsharp_cli.io.networks.forms import LIBRARIES

_CONTAINERS = ("args", "hyper_parameters", "config", "pretrained_cfg", "hparams", "cfg", "opt")
_ENTRIES = ("arch", "architecture", "model", "model_name", "model_arch", "backbone", "encoder", "net", "network")
_TIMMS_OWN = ("args", "config", "pretrained_cfg")
_NAME = re.compile(r"[A-Za-z]\w{1,80}(\.\w{1,60})?", re.ASCII)
_LARGEST = {
    "classes": 2**31,
    "num_classes": 2**31,
    "in_channels": 2**20,
    "in_chans": 2**20,
    "image_size": 4096,
    "img_size": 4096,
}
_HARMLESS = {"aux_logits", "dropout", "drop_rate", "drop_path_rate", "stochastic_depth_prob", "zero_init_residual"}


def names_in(metadata: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Each name that the entries of a checkpoint give its network, with the networks that may have it.

    The entries themselves are searched, timm's ``args``, Lightning's ``hyper_parameters`` and a ``config``. For a name
    without a library timm's network comes first where timm's own tools wrote it, and torchvision's first elsewhere.

    >>> list(names_in({"args": {"model": "resnet18"}}))
    [('resnet18', ['timm:resnet18', 'torchvision:resnet18'])]
    """
    seen = set()
    for container in (*_CONTAINERS, ""):
        entries = metadata.get(container) if container else metadata
        if not isinstance(entries, Mapping):
            continue
        for key in _ENTRIES:
            name = entries.get(key)
            if isinstance(name, str) and name not in seen:
                seen.add(name)
                yield name, _meanings(name, container in _TIMMS_OWN)


def require_no_code(spec: str) -> str:
    """Return ``spec``, or refuse it if it would import code.

    Raises:
        CheckpointRefusedError: it would import code.
    """
    if family(spec):
        return spec
    raise CheckpointRefusedError(
        f"The checkpoint asks for the network '{one_line(spec)}', which would import code.",
        f"If that code is yours, say so with {named('arch')} {one_line(spec)}.",
    )


def bounded_options(options: object) -> dict[str, Any]:
    """The arguments of a constructor that a checkpoint of our own format states, if each is known and of bearable size.

    Raises:
        CheckpointRefusedError: an argument that a file may not decide, or one that is out of bounds.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise CheckpointRefusedError(
            f"The checkpoint's 'architecture_options' are a {type(options).__name__}, expected names and numbers.",
            f"Name the network with {named('arch')} and {named('arch_option')}.",
        )
    for key, value in options.items():
        number = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST.get(key, 0)
        if not number and not (key in _HARMLESS and isinstance(value, bool | float)):
            raise CheckpointRefusedError(
                f"The checkpoint builds its network with {one_line(key)}={one_line(repr(printable(value)), 40)}, "
                "which a file may not decide.",
                f"If you trust it, repeat it with {named('arch')} and {named('arch_option')}.",
            )
    return dict(options)


def _meanings(name: str, timms_first: bool) -> list[str]:
    if family(name):
        return [name]
    if name.replace("_", "-") in OWN:
        return [name.replace("_", "-")]
    if not _NAME.fullmatch(name):
        return []
    libraries = reversed(LIBRARIES) if timms_first else LIBRARIES
    return [f"{library}:{name}" for library in libraries]
