"""What help and refusals say can be named, can be opened, and costs no import of anything heavy."""

from __future__ import annotations

import subprocess
import sys

from bnsharp_cli.io.data.criteria import CRITERIA
from bnsharp_cli.io.data.forms import DATA_FORMS, DATA_NAMES, LOSS_FORMS, LOSS_NAMES, TRAINING_DATA_FORMS
from bnsharp_cli.io.data.sources import TORCHVISION
from bnsharp_cli.io.networks.constructors import ARGUMENT_NAMES, OWN
from bnsharp_cli.io.networks.forms import ARCHITECTURE_FORMS, ARCHITECTURE_NAMES, LIBRARIES

HEAVY = ("torch", "numpy", "torchvision", "sklearn", "PIL")


def test_the_names_are_those_that_are_opened() -> None:
    assert {*DATA_NAMES} == {"digits", *TORCHVISION}
    assert tuple(CRITERIA) == LOSS_NAMES
    assert tuple(OWN) == ARCHITECTURE_NAMES
    assert ARGUMENT_NAMES.keys() == {"own", *LIBRARIES}


def test_the_help_is_in_one_voice() -> None:
    assert (
        DATA_FORMS == "digits, cifar10, cifar100, mnist, fashionmnist, svhn, folder:DIR, npz:FILE, text:FILE, "
        "package.module:factory or file.py:factory"
    )
    assert DATA_FORMS.replace("text:FILE, ", "") == TRAINING_DATA_FORMS
    assert LOSS_FORMS == "cross-entropy, mse, token-cross-entropy, package.module:function or file.py:function"
    assert (
        ARCHITECTURE_FORMS
        == "lenet-bn, vgg11-bn, torchvision:NAME, timm:NAME, package.module:factory or file.py:factory"
    )


def test_forms_import_nothing_heavy() -> None:
    code = (
        "import sys, bnsharp_cli.io.data.forms, bnsharp_cli.io.networks.forms\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
