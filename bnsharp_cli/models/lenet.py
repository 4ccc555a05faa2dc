"""LeNet with batch normalisation after every hidden layer."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

_SMALLEST_UNPADDED = 28


def lenet_bn(in_channels: int = 3, classes: int = 10, image_size: int = 32) -> nn.Sequential:
    """The paper's fully batch-normalised LeNet (LeCun et al. 1998; Yi et al. 2019, Sec. 5).

    No layer that feeds a norm has a bias: the norm subtracts it, and in float32 it would swamp the weights of a
    copy that was scaled down. Images below 28 pixels get padded convolutions, so that 8 × 8 digits fit.

    Args:
        in_channels: colours of the image.
        classes: outputs.
        image_size: height and width of the image, at least 8.

    Returns:
        A network from (N, in_channels, image_size, image_size) to (N, classes).

    Raises:
        ValueError: an image too small for two poolings.

    >>> import torch
    >>> lenet_bn(1, 10, 8)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    if image_size < 8:
        raise ValueError(f"image_size must be at least 8, found {image_size}")
    padding = 0 if image_size >= _SMALLEST_UNPADDED else 2
    side = image_size
    for _ in range(2):
        side = (side + 2 * padding - 4) // 2
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_channels, 6, 5, padding=padding, bias=False),
            norm1=nn.BatchNorm2d(6),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5, padding=padding, bias=False),
            norm2=nn.BatchNorm2d(16),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            linear1=nn.Linear(16 * side * side, 120, bias=False),
            norm3=nn.BatchNorm1d(120),
            relu3=nn.ReLU(),
            linear2=nn.Linear(120, 84, bias=False),
            norm4=nn.BatchNorm1d(84),
            relu4=nn.ReLU(),
            output=nn.Linear(84, classes),
        )
    )
