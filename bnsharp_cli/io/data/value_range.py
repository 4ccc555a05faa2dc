"""Whether a mean and a standard deviation are of such numbers as the images have."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from bnsharp_cli.errors import DataRefusedError, UsageError, named
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.preprocessing_override import PreprocessingOverride
from bnsharp_cli.io.data.splits import Split

_LOOKED_AT = 8
_LEAST, _MOST = -0.5, 1.5
"""Images in [0, 1], give or take what bicubic resizing overshoots."""

_BYTES = 255


def require_such_numbers(
    split: Split, preprocessing: Preprocessing, override: PreprocessingOverride, origin: str
) -> str:
    """Refuse a normalisation for pixels in 0 … 255 of images in [0, 1], and the reverse.

    Args:
        split: whose first images are looked at.
        preprocessing: what the images get.
        override: what the user said of it.
        origin: which library it is from; empty where the file or nobody states it.

    Returns:
        What the user must know, or nothing.

    Raises:
        UsageError: a mean or a standard deviation of the user's above 1, for images in [0, 1].
        DataRefusedError: a library's normalisation for images that are not in [0, 1].
    """
    images = [split.load(torch.tensor([index]), preprocessing)[0] for index in range(min(len(split), _LOOKED_AT))]
    if not images or not all(one.numel() for one in images):
        return ""
    least, most = min(float(one.min()) for one in images), max(float(one.max()) for one in images)
    inside = least >= _LEAST and most <= _MOST
    if override.mean is not None and override.std is not None:
        if inside and max(*override.mean, *override.std) > 1:
            raise _of_bytes(override.mean, override.std)
    elif origin and preprocessing.mean and (least < _LEAST or most > _MOST):
        raise _not_in_unit_range(preprocessing, least, most)
    elif not origin and preprocessing.mean:
        return _of_other_numbers(preprocessing, least, most)
    elif not origin and inside and images[0].ndim == 4:
        return f"the images are in [0, 1] and not normalised; {named('mean')} and {named('std')} change it"
    return ""


def _of_other_numbers(preprocessing: Preprocessing, least: float, most: float) -> str:
    """What to say of images that hardly have the range of those that the file's mean and deviation are of."""
    of_unit, inside = max(*preprocessing.mean, *preprocessing.std) <= 1, most <= _MOST
    bytes_here = least >= 0 and most > _BYTES / 16
    if not (of_unit and bytes_here) and not (inside and least >= 0 and min(preprocessing.mean) > _MOST):
        return ""
    stated = f"mean {_numbers(preprocessing.mean)} and std {_numbers(preprocessing.std)}"
    return (
        f"WARNING: the images lie in {least:.3g} … {most:.3g}, and the file's {stated} are hardly of such numbers; "
        f"{named('mean')} and {named('std')} change them"
    )


def _of_bytes(mean: Iterable[float], std: Iterable[float]) -> UsageError:
    return UsageError.of(
        "mean",
        f"the mean of pixels in [0, 1], and {named('std')} likewise",
        _numbers(mean),
        f"Divided by {_BYTES} they are {_options((value / _BYTES for value in mean), (v / _BYTES for v in std))}",
    )


def _not_in_unit_range(preprocessing: Preprocessing, least: float, most: float) -> DataRefusedError:
    """The refusal of images that are normalised already, or never were scaled."""
    channels = len(preprocessing.mean)
    as_they_are = _options((0,) * channels, (1,) * channels)
    remedy = f"If they are as the network got them, say so with {as_they_are}"
    if least >= 0 and most > _BYTES / 16:
        scaled = ((_BYTES * value for value in values) for values in (preprocessing.mean, preprocessing.std))
        remedy = f"If they lie in 0 … {_BYTES}, say so with {_options(*scaled)}"
    return DataRefusedError(
        f"The images lie in {least:.3g} … {most:.3g}, and the library's mean and std are for images in [0, 1].",
        remedy,
        expected="images in [0, 1]",
        found=(least, most),
    )


def _options(mean: Iterable[float], std: Iterable[float]) -> str:
    return f"{named('mean')} {_numbers(mean)} {named('std')} {_numbers(std)}"


def _numbers(values: Iterable[float]) -> str:
    return ",".join(f"{value:.6g}" for value in values)
