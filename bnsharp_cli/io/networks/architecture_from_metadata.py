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
_TIMMS_ARGUMENTS = frozenset({"crop_pct", "img_size", "interpolation", "mean", "std"})
"""What the arguments of timm's training script always say of the images, if only that nothing was given."""

_TIMMS_CONFIGURATION = frozenset({"first_conv", "input_size", "mean", "std"})
"""What timm says of a network that it ships or exports."""

_NAME = re.compile(r"[A-Za-z]\w{1,80}(\.\w{1,60})?", re.ASCII)
_CLASSES, _CHANNELS, _SIZES = (1, 2**31), (1, 2**20), (1, 1024)
_RATES = (0.0, 1.0)
_FLAGS = (False, True)
_RANGES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "own": {"classes": _CLASSES, "in_channels": _CHANNELS, "image_size": _SIZES},
    "torchvision": {
        "num_classes": _CLASSES,
        "in_channels": _CHANNELS,
        "image_size": _SIZES,
        "aux_logits": _FLAGS,
        "zero_init_residual": _FLAGS,
        "dropout": _RATES,
        "stochastic_depth_prob": _RATES,
    },
    "timm": {
        "num_classes": _CLASSES,
        "in_chans": _CHANNELS,
        "img_size": _SIZES,
        "drop_rate": _RATES,
        "drop_path_rate": _RATES,
    },
}
"""By family, the arguments that a file may state, each with the least and the largest value of its type."""

_TIMMS_NEUTRAL = frozenset({"num_classes", "in_chans", "drop_rate", "drop_path_rate", "bn_momentum"})
"""Arguments of timm's constructors that the shapes of the weights tell, or that change no answer."""

_TIMMS_POOLS = frozenset({"avg", "avgmax", "catavgmax", "map", "max", "token"})
_TIMMS_SIDES = frozenset({"img_size", "patch_size", "window_size"})
"""Sides of images and of parts of them, which the shapes of the weights have to confirm."""

_TIMMS_SCRIPT = {"gp": "global_pool", "bn_eps": "bn_eps"}
"""Options of timm's training script that change what a network computes, with the constructor's names for them."""

_ONLY_OF = {
    "image_size": ("lenet-bn", "torchvision:vit_"),
    "aux_logits": ("torchvision:googlenet", "torchvision:incep"),
}
"""Arguments that not all networks of their family have, and what the names of those that do begin with."""


def names_in(metadata: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Each name that the entries of a checkpoint give its network, with the networks that may have it.

    The entries themselves are searched, a script's ``args``, Lightning's ``hyper_parameters``, a ``config`` and the
    like. For a name without a library timm's network comes first where timm's own tools wrote it, which more than the
    name must show, and torchvision's first elsewhere.

    >>> list(names_in({"args": {"model": "resnet18"}}))
    [('resnet18', ['torchvision:resnet18', 'timm:resnet18'])]
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
                yield name, _meanings(name, is_timms(entries))


def is_timms(entries: Mapping[str, Any]) -> bool:
    """Whether timm wrote these entries: arguments of its training script, or its configuration of a network.

    >>> is_timms({"model": "resnet18", "img_size": 224})
    False
    """
    inner = entries.get("pretrained_cfg")
    return (
        entries.keys() >= _TIMMS_ARGUMENTS
        or entries.keys() >= _TIMMS_CONFIGURATION
        or (isinstance(inner, Mapping) and inner.keys() >= _TIMMS_CONFIGURATION)
    )


def timms_network_arguments(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of its constructor that timm wrote beside the weights, as far as they leave no trace in shapes.

    timm's directories have them as ``model_args``, files of its training script among ``args``.

    Raises:
        CheckpointRefusedError: one that changes what the network computes, and that a file may not decide.

    >>> stated = {"num_classes": 4, "global_pool": "max", "img_size": [96, 96]}
    >>> timms_network_arguments({"config": {"model_args": stated}})
    {'global_pool': 'max', 'img_size': 96}
    """
    config, args = (_mapping(metadata.get(name)) for name in ("config", "args"))
    script = args if is_timms(args) else {}
    stated = {**_mapping(config.get("model_args")), **_mapping(script.get("model_kwargs"))}
    stated |= {ours: script[theirs] for theirs, ours in _TIMMS_SCRIPT.items() if theirs in script}
    kept = {key: _one_side(key, value) for key, value in stated.items() if value is not None}
    followed = {key: value for key, value in kept.items() if key not in _TIMMS_NEUTRAL}
    for key, value in followed.items():
        if not (value in _TIMMS_POOLS if key == "global_pool" and isinstance(value, str) else _is_side(key, value)):
            raise _not_the_files_to_decide(key, value)
    return followed


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _one_side(key: object, value: object) -> object:
    """The side of square images that are given by both sides."""
    square = key == "img_size" and isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]
    return value[0] if square and isinstance(value, list | tuple) else value


def _is_side(key: object, value: object) -> bool:
    return key in _TIMMS_SIDES and type(value) is int and _SIZES[0] <= value <= _SIZES[1]


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


def bounded_options(spec: str, options: object) -> dict[str, Any]:
    """The arguments of a constructor that a checkpoint of our own format states, if each is known and in its range.

    Args:
        spec: the network that it states.
        options: its arguments.

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
        if not _may_state(spec, key, value):
            raise _not_the_files_to_decide(key, value)
    return dict(options)


def _not_the_files_to_decide(key: object, value: object) -> CheckpointRefusedError:
    return CheckpointRefusedError(
        f"The checkpoint builds its network with {one_line(key)}={one_line(repr(printable(value)), 40)}, "
        "which a file may not decide.",
        f"If you trust it, repeat it with {named('arch')} and {named('arch_option')}.",
    )


def _may_state(spec: str, key: object, value: object) -> bool:
    if not isinstance(key, str) or not spec.startswith(_ONLY_OF.get(key, "")):
        return False
    limits = _RANGES[family(spec)].get(key)
    if limits is None or not isinstance(value, int | float):
        return False
    kinds = (int, float) if limits is _RATES else (type(limits[0]),)
    return type(value) in kinds and limits[0] <= value <= limits[1]


def _meanings(name: str, timms_first: bool) -> list[str]:
    if family(name):
        return [name]
    if name.replace("_", "-") in OWN:
        return [name.replace("_", "-")]
    if not _NAME.fullmatch(name):
        return []
    libraries = reversed(LIBRARIES) if timms_first else LIBRARIES
    return [f"{library}:{name}" for library in libraries]
