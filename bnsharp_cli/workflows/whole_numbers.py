"""Whether a network is given the whole numbers of its data as such, as tokens must be, or as floating numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnsharp_cli.errors import BnsharpError
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.splits import Split
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_TRIED = 2


def wants_whole_numbers(module: nn.Module, split: Split, preprocessing: Preprocessing) -> bool:
    """Whether the data are stored as whole numbers and the network takes them, or takes floating ones no better.

    Networks of images take floating numbers only. What is normalised or resized is floating anyway.
    """
    images, _ = split.load(torch.arange(min(_TRIED, len(split))), preprocessing)
    inputs = preprocessing.normalise(images)
    if inputs.is_floating_point():
        return False
    return _takes(module, inputs) or not _takes(module, inputs.float())


def _takes(module: nn.Module, inputs: Tensor) -> bool:
    surface = LossSurface.of(module, [(inputs, torch.zeros(len(inputs)))], batch_statistics=False)
    try:
        with torch.no_grad():
            surface.outputs(surface.point(), inputs)
    except BnsharpError:
        return False
    return True
