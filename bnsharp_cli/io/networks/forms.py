"""How networks are named. Imports nothing, so that help and shell completion stay fast."""

ARCHITECTURE_NAMES = ("lenet-bn", "vgg11-bn")
"""The paper's networks."""

LIBRARIES = ("torchvision", "timm")
"""Libraries whose image classifiers are built by name, such as ``torchvision:resnet18``."""

_BUILT_BY_NAME = ", ".join((*ARCHITECTURE_NAMES, *(f"{library}:NAME" for library in LIBRARIES)))

ARCHITECTURE_FORMS = f"{_BUILT_BY_NAME}, package.module:factory or file.py:factory"
"""How a network is named, in one line of help."""

ALL_ARCHITECTURE_FORMS = f"{_BUILT_BY_NAME}, package.module:factory, path/to/file.py:factory"
"""The same, for the refusal of an unknown name."""
