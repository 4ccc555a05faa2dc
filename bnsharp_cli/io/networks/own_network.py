"""What to do about weights of a known network in which few layers are others: the option, or the function to write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnsharp_cli.errors import named
from bnsharp_cli.io.checkpoints.state_dicts import NamedTensors, below
from bnsharp_cli.io.networks.constructor_arguments import has_shapes
from bnsharp_cli.io.networks.constructors import family
from bnsharp_cli.io.networks.network_identity import NetworkIdentity
from bnsharp_cli.io.networks.outlines import shapes_of
from bnsharp_cli.io.networks.weight_norm import composed, modern_names
from bnsharp_cli.io.networks.weights_comparison import BATCH_COUNT

_CALLS = {"torchvision": "torchvision.models.{name}({options})", "timm": "timm.create_model('{name}'{options})"}
_OPTION = "arch_option"
_MOST_LAYERS, _MOST_CHILDREN = 10, 2
_VARIANTS: Mapping[str, Mapping[str, Any]] = {"fc_norm.weight": {"global_pool": "avg"}}
"""By a name that timm's networks have with them, arguments that change which layers there are."""


def remedy_for(identity: NetworkIdentity | None, found: NamedTensors, expected: NamedTensors) -> str:
    """How to get the network of the weights ``found``, which is not quite the one with the tensors ``expected``.

    Args:
        identity: what built the network; None for one whose constructor is not known.
        found: the weights.
        expected: the tensors of the network, by its own names.

    Returns:
        A sentence or two that can be done as they stand; empty where nothing is known.
    """
    if identity is None or family(identity.spec) not in _CALLS:
        return ""
    variant = _variant(identity, found)
    if variant:
        return f"Add {' '.join(f'{named(_OPTION)} {key}={value}' for key, value in variant.items())}."
    code = _function(identity, found, expected)
    if not code:
        return ""
    children = " or ".join(_differing(found, expected))
    return (
        f"If its {children} is another one, write that network to net.py, for example `{code}`, and name it instead: "
        f"{named('arch')} net.py:net. Activations, dropout and strides leave no trace in a file: put in your own."
    )


def _variant(identity: NetworkIdentity, found: NamedTensors) -> Mapping[str, Any]:
    """Arguments with which the constructor would make a network that the weights fit."""
    shapes = shapes_of(composed(modern_names(found)))
    for name, options in _VARIANTS.items():
        if family(identity.spec) == "timm" and name in found:
            try:
                fits = has_shapes(identity.spec, {**identity.options, **options}, shapes)
            except Exception:  # a constructor that does not know the argument
                continue
            if fits:
                return options
    return {}


def _differing(found: NamedTensors, expected: NamedTensors) -> list[str]:
    """The network's own parts in which names or shapes differ."""
    names = [name for name in {**expected, **found} if not name.endswith(BATCH_COUNT)]
    unlike = [
        name for name in names if name not in found or name not in expected or found[name].shape != expected[name].shape
    ]
    return list(dict.fromkeys(name.partition(".")[0] for name in unlike))


def _function(identity: NetworkIdentity, found: NamedTensors, expected: NamedTensors) -> str:
    """A function of one line that builds the network with layers as the weights have them; empty if they tell none."""
    children = _differing(found, expected)
    own = {name.partition(".")[0] for name in expected}
    if not 0 < len(children) <= _MOST_CHILDREN or not own.issuperset(children):
        return ""
    parts = {child: _part(below(found, f"{child}.")) for child in children}
    if not all(parts.values()):
        return ""
    library, _, name = identity.spec.partition(":")
    options = ", ".join(f"{key}={value!r}" for key, value in identity.options.items())
    call = _CALLS[library].format(name=name, options=f", {options}" if options and library == "timm" else options)
    steps = "".join(f"net.{child} = {part}; " for child, part in parts.items())
    return f"def net(): import torch, {library}; net = {call}; {steps}return net"


def _part(tensors: NamedTensors) -> str:
    """The layer, or the layers in a row, that have these tensors; empty if these are no such layers."""
    layers: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, tensor in tensors.items():
        place, _, kind = name.rpartition(".")
        layers.setdefault(place, {})[kind] = tuple(tensor.shape)
    spatial = any(len(layer.get("weight", ())) > 2 for layer in layers.values())
    written = {place: _layer(layer, spatial=spatial) for place, layer in layers.items()}
    if not layers or not all(written.values()):
        return ""
    if [*written] == [""]:
        return written[""]
    if not all(place.isdecimal() and int(place) < _MOST_LAYERS for place in written):
        return ""
    row = [written.get(str(place), "torch.nn.Identity()") for place in range(max(map(int, written)) + 1)]
    return f"torch.nn.Sequential({', '.join(row)})"


def _layer(shapes: Mapping[str, tuple[int, ...]], *, spatial: bool) -> str:
    """The constructor of the layer with tensors of these shapes; empty if there is none."""
    weight = shapes.get("weight", ())
    bias = "" if "bias" in shapes else ", bias=False"
    if "running_mean" in shapes and len(weight) == 1:
        return f"torch.nn.BatchNorm{2 if spatial else 1}d({weight[0]})"
    if not shapes.keys() <= {"weight", "bias"}:
        return ""
    if len(weight) == 1:
        return f"torch.nn.LayerNorm({weight[0]})"
    if len(weight) == 2:
        return f"torch.nn.Linear({weight[1]}, {weight[0]}{bias})"
    if len(weight) == 4 and weight[2] == weight[3]:
        padding = f", padding={weight[2] // 2}" if weight[2] > 1 else ""
        return f"torch.nn.Conv2d({weight[1]}, {weight[0]}, {weight[2]}{padding}{bias})"
    return ""
