"""The paper's networks in the forms that it trains: ``lenet.py`` for small images, ``vgg.py`` for 32 × 32."""

from bnsharp_cli.models.lenet import lenet_bn
from bnsharp_cli.models.vgg import vgg11_bn

__all__ = ["lenet_bn", "vgg11_bn"]
