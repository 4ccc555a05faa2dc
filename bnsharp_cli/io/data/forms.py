"""How data sets and losses are named. Imports nothing, so that help and shell completion stay fast."""

DATA_NAMES = ("digits", "cifar10", "cifar100", "mnist", "fashionmnist", "svhn")
"""Data sets that have a name: scikit-learn's digits, and torchvision's."""

DATA_FORMS = "digits, cifar10, cifar100, folder:DIR, npz:FILE or package.module:factory"
"""How data is named, in one line of help: the best known names, and the other forms."""

ALL_DATA_FORMS = f"{', '.join(DATA_NAMES)}, folder:DIR, npz:FILE, package.module:factory"
"""The same with every name, for the refusal of an unknown one."""

CROSS_ENTROPY, MEAN_SQUARED_ERROR = LOSS_NAMES = ("cross-entropy", "mse")
"""Losses that have a name."""

LOSS_FORMS = f"{', '.join(LOSS_NAMES)}, package.module:function or file.py:function"
"""How a loss is named, in one line of help."""
