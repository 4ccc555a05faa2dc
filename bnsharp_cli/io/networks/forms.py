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


def is_built_by_name(spec: str) -> bool:
    """Whether a network is one of ours or of a library, so that no code of the user's builds it.

    >>> is_built_by_name("timm:resnet18"), is_built_by_name("mine.py:net")
    (True, False)
    """
    kind, _, name = spec.partition(":")
    return spec in ARCHITECTURE_NAMES or (kind in LIBRARIES and name.replace("_", "").replace(".", "").isalnum())
