"""The preprocessing of a network's images: the checkpoint's own, its library's, or what the user says."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bnsharp_cli.errors import CheckpointRefusedError, named
from bnsharp_cli.io.checkpoints.image_processors import NOT_FOLLOWED, timm_preprocessing
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.preprocessing_override import PreprocessingOverride
from bnsharp_cli.io.data.splits import Split
from bnsharp_cli.io.data.training_arguments import reference_arguments, timms_image_arguments
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.io.files.printable_text import one_line
from bnsharp_cli.io.networks.constructors import ARGUMENT_NAMES, COLOURS, construct_on_meta, family
from bnsharp_cli.io.networks.network_identity import NetworkIdentity

_CHANGE = f"{named('image_size')}, {named('mean')} and {named('std')} change it"
_SIZE_OPTIONS = ("image_size", "img_size")
_STEP = 32
_ALWAYS_FINE, _MOST_ENLARGED, _MOST_STATED = 256, 8, 1024


def choose_preprocessing(
    metadata: Mapping[str, Any], identity: NetworkIdentity, module: nn.Module, override: PreprocessingOverride
) -> tuple[Preprocessing, str]:
    """What is done to the images, and one line on where it comes from if nobody stated all of it.

    The ``preprocessing`` entry of the checkpoint comes first. Otherwise a network of torchvision's or timm's gets what
    its library does before the weights that it ships: all of it where the network has as many classes as those, or
    where the arguments of timm's training script are in the file. The sizes among the arguments of torchvision's
    reference script are followed. A network of other classes gets mean and standard deviation alone, since it was
    hardly trained on images of that size, unless it accepts no other. A size among the constructor's arguments is
    followed.

    Raises:
        CheckpointRefusedError: a ``preprocessing`` entry of the wrong kind.
        UsageError: as from ``override.apply``.
    """
    stated = metadata.get("preprocessing")
    if isinstance(stated, Mapping) and (NOT_FOLLOWED not in stated or not override.whole):
        return override.apply(Preprocessing.from_dict(stated)), ""
    if isinstance(stated, Mapping):
        return override.apply(Preprocessing()), ""
    library = family(identity.spec)
    if library not in ("torchvision", "timm"):
        return override.apply(Preprocessing()), ""
    if library == "torchvision" and (told := reference_arguments(metadata)):
        return _as_told(told, identity, override)
    trained = timms_image_arguments(metadata) if library == "timm" else {}
    if library == "timm" and override.whole and NOT_FOLLOWED in _timms_entries(module, trained):
        return override.apply(Preprocessing()), ""
    usual, classes = _timms(module, trained) if library == "timm" else _torchvisions(identity)
    chosen, reason = _suited(usual, classes, identity, bool(trained))
    return override.apply(chosen), f"the images get {library}'s own preprocessing{reason}; {_CHANGE}"


def with_librarys_resizing(
    preprocessing: Preprocessing, identity: NetworkIdentity, module: nn.Module
) -> tuple[Preprocessing, str]:
    """``preprocessing`` with the resizing that the network's library does, for images of several sizes, and a notice.

    Without a library it stays as it is, and there is nothing to say.
    """
    library = family(identity.spec)
    if library not in ("torchvision", "timm") or preprocessing.image_size is not None:
        return preprocessing, ""
    usual, _ = _timms(module, {}) if library == "timm" else _torchvisions(identity)
    resized = replace(usual, mean=preprocessing.mean, std=preprocessing.std, rounded_down=preprocessing.rounded_down)
    said = f"the images are of several sizes, so they are resized as {library} does: {resized}"
    return resized, f"{said}; {named('resize')} and {named('crop')}, or {named('image_size')}, change it"


def _as_told(
    told: Mapping[str, Any], identity: NetworkIdentity, override: PreprocessingOverride
) -> tuple[Preprocessing, str]:
    """What torchvision's reference script does to the images of its validation, by its arguments."""
    usual, _ = _torchvisions(identity)
    stated = {"mean": usual.mean, "std": usual.std, **told}
    if NOT_FOLLOWED in told and override.whole:
        return override.apply(usual), ""
    said = f"the images get what the arguments of torchvision's reference script say of validation; {_CHANGE}"
    return override.apply(Preprocessing.from_dict(stated)), said


def without_unfollowed(metadata: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The entries of a checkpoint without a preprocessing that cannot be followed, and a line on it if there is one."""
    told = timms_image_arguments(metadata) or reference_arguments(metadata)
    for name, said in (("preprocessing", metadata.get("preprocessing")), ("args", told)):
        if isinstance(said, Mapping) and NOT_FOLLOWED in said:
            rest = {key: entry for key, entry in metadata.items() if key != name}
            return rest, f"the preprocessing cannot be followed: {one_line(said[NOT_FOLLOWED])}"
    return metadata, ""


def require_modest(preprocessing: Preprocessing, split: Split) -> None:
    """Refuse a size that nobody but a file has chosen, and that is far larger than the images are.

    Up to ``256`` pixels a side are always fine, and up to eight times the side that the images have themselves.

    Args:
        preprocessing: as the file has it.
        split: of the data; its first image is read where the size is large.

    Raises:
        CheckpointRefusedError: the remedy names the option by which the user chooses the size.
    """
    sides = (preprocessing.image_size or 0, preprocessing.shorter_side or 0)
    largest = _ALWAYS_FINE
    if max(sides) > largest:
        image, _ = split.load(torch.arange(1), Preprocessing())
        largest = max(largest, min(_MOST_STATED, _MOST_ENLARGED * min(image.shape[2:], default=0)))
    if sides[0] > largest or sides[1] > max(largest, 2 * sides[0]):
        size = preprocessing.image_size
        raise CheckpointRefusedError(
            f"The checkpoint wants images of {max(sides):,} pixels a side, and on this data a file alone may ask for "
            f"{largest:,}.",
            f"If you want that, say so with {named('image_size')} {size}.",
            expected=f"at most {largest} pixels a side",
            found=max(sides),
        )


def _suited(usual: Preprocessing, classes: int, identity: NetworkIdentity, trained: bool) -> tuple[Preprocessing, str]:
    """The part of a library's preprocessing that suits a network of other classes or channels, and why."""
    names, options = ARGUMENT_NAMES[family(identity.spec)], identity.options
    own_classes, channels = options.get(names.classes, classes), options.get(names.channels, COLOURS)
    reasons = []
    if channels != len(usual.mean):
        usual = replace(usual, mean=(), std=())
        reasons.append(f"its mean and std, which are not of {channels} channel{'s' * (channels != 1)}")
    told = next((options[name] for name in _SIZE_OPTIONS if isinstance(options.get(name), int)), None)
    if told is not None and not (trained and told == usual.image_size):
        usual = replace(usual, image_size=told, shorter_side=told)
    elif own_classes != classes and not trained:
        fixed = usual.image_size is not None and _takes_no_other_size(identity, channels, usual.image_size)
        usual = replace(usual, image_size=usual.image_size if fixed else None)
        usual = replace(usual, shorter_side=usual.image_size)
        if not fixed:
            reasons.append(f"its resizing, since {own_classes:,} classes are not its {classes:,}")
    return usual, f" without {' and '.join(reasons)}" if reasons else ""


def _torchvisions(identity: NetworkIdentity) -> tuple[Preprocessing, int]:
    """The preprocessing of the weights that torchvision ships for a network, and their number of classes.

    The weights are not fetched.
    """
    with importing_libraries():
        from torchvision.models import get_model_weights

    weights = get_model_weights(identity.spec.partition(":")[2]).DEFAULT
    eval_transform = weights.transforms()
    preprocessing = Preprocessing(
        eval_transform.crop_size[0],
        tuple(eval_transform.mean),
        tuple(eval_transform.std),
        shorter_side=eval_transform.resize_size[0],
        interpolation=eval_transform.interpolation.value,
    )
    return preprocessing, len(weights.meta["categories"])


def _timms(module: nn.Module, trained: Mapping[str, Any]) -> tuple[Preprocessing, int]:
    """The preprocessing of the weights that timm ships for a network, and their number of classes.

    Args:
        module: the network.
        trained: arguments of timm's training script, which take precedence.

    Raises:
        CheckpointRefusedError: it is none that can be followed here.
    """
    own: Any = module.pretrained_cfg
    return Preprocessing.from_dict(_timms_entries(module, trained)), int(own["num_classes"])


def _timms_entries(module: nn.Module, trained: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same as entries, or why it cannot be followed."""
    if NOT_FOLLOWED in trained:
        return trained
    timms_data: Any = importlib.import_module("timm.data")
    own: Any = module.pretrained_cfg
    config = timms_data.resolve_data_config(dict(trained), own)
    return timm_preprocessing({key: [*each] if isinstance(each, tuple) else each for key, each in config.items()})


def _takes_no_other_size(identity: NetworkIdentity, channels: int, size: int) -> bool:
    network = construct_on_meta(identity.spec, identity.options).eval()

    def takes(side: int) -> bool:
        try:
            with torch.no_grad():
                network(torch.empty(2, channels, side, side, device="meta"))
        except Exception:  # a network raises whatever it stumbles over
            return False
        return True

    return takes(size) and not takes(size + _STEP)
