"""VGG11 with batch normalisation, in its CIFAR form."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

_CHANNELS_AND_POOLS = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool")


def vgg11_bn(in_channels: int = 3, classes: int = 10) -> nn.Sequential:
    """VGG11-BN for 32 × 32 images: eight normalised convolutions and one linear layer (Simonyan & Zisserman 2014).

    Args:
        in_channels: colours of the image.
        classes: outputs.

    Returns:
        A network from (N, in_channels, 32, 32) to (N, classes); no convolution has a bias, since a norm follows.

    >>> import torch
    >>> vgg11_bn(3, 5)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 5])
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels, convolution, pool = in_channels, 0, 0
    for item in _CHANNELS_AND_POOLS:
        if isinstance(item, str):
            pool += 1
            layers[f"pool{pool}"] = nn.MaxPool2d(2)
            continue
        convolution += 1
        layers[f"conv{convolution}"] = nn.Conv2d(channels, item, 3, padding=1, bias=False)
        layers[f"norm{convolution}"] = nn.BatchNorm2d(item)
        layers[f"relu{convolution}"] = nn.ReLU()
        channels = item
    layers["flatten"] = nn.Flatten()
    layers["output"] = nn.Linear(channels, classes)
    return nn.Sequential(layers)
