"""The paper's networks."""

from bnsharp_cli.models.lenet import lenet_bn
from bnsharp_cli.models.vgg import vgg11_bn

__all__ = ["lenet_bn", "vgg11_bn"]
