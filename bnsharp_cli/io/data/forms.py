"""How data sets and losses are named. Imports nothing, so that help and shell completion stay fast."""

DATA_NAMES = ("digits", "cifar10", "cifar100", "mnist", "fashionmnist", "svhn")
"""Data sets that have a name: scikit-learn's digits, and torchvision's."""

_IMAGES = f"{', '.join(DATA_NAMES)}, folder:DIR, npz:FILE"
_CODE = "package.module:factory or file.py:factory"

DATA_KINDS = ("folder", "npz", "text")
"""What stands in front of the path of data that is read from files."""

DATA_FORMS = f"{_IMAGES}, text:FILE, {_CODE}"
"""How data is named, in one line of help."""

TRAINING_DATA_FORMS = f"{_IMAGES}, {_CODE}"
"""How data that networks are trained on is named; text is measured only."""

ALL_DATA_FORMS = f"{_IMAGES}, text:FILE, package.module:factory, path/to/file.py:factory"
"""The same, for the refusal of an unknown name."""

CROSS_ENTROPY, MEAN_SQUARED_ERROR, TOKEN_CROSS_ENTROPY = LOSS_NAMES = ("cross-entropy", "mse", "token-cross-entropy")
"""Losses that have a name."""

LOSS_FORMS = f"{', '.join(LOSS_NAMES)}, package.module:function or file.py:function"
"""How a loss is named, in one line of help."""

AS_THEY_ARE, ALPHABETICAL = CLASS_CHOICES = ("folder", "alphabetical")
"""What can be said of class folders: that class i is the i-th folder, however many; that numbers are texts."""


def is_plain_data(spec: str) -> bool:
    """Whether data are known by name or read from files, so that no code of the user's gives them.

    >>> is_plain_data("npz:digits.npz"), is_plain_data("mine.py:data")
    (True, False)
    """
    kind, colon, _ = spec.partition(":")
    return spec in DATA_NAMES or (bool(colon) and kind in DATA_KINDS)


def is_text(spec: str | None) -> bool:
    """Whether data are a file of text, which a network's own tokenizer cuts into tokens.

    >>> is_text("text:book.txt"), is_text("npz:digits.npz"), is_text(None)
    (True, False, False)
    """
    return (spec or "").startswith("text:")


def is_named_loss(spec: str) -> bool:
    """Whether a loss is known by name."""
    return spec in LOSS_NAMES
