"""Names the image classifiers of transformers that are built, and keeps them from everything else meanwhile."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_NAMES = """
beit bit convnext convnextv2 cvt data2vec-vision deit dinov2 dinov2_with_registers donut-swin efficientnet focalnet
hgnet_v2 hiera ijepa levit mobilenet_v1 mobilenet_v2 mobilevit mobilevitv2 poolformer pp_lcnet pvt pvt_v2 regnet resnet
segformer siglip swiftformer swin swinv2 textnet vit vit_msn
"""
CLASSIFIER_KINDS = frozenset(_NAMES.split())
"""Classifiers of images alone that need no other library, and of whose parts the file does not choose the kind."""

_SILENT = logging.CRITICAL + 1


@contextmanager
def alone() -> Iterator[None]:
    """Meanwhile transformers fetches nothing, asks nothing and says nothing, whatever the environment says.

    It asks on the terminal whether it may run code from a file, and its reports hold text of the file; our own refusal
    says what matters in one line.
    """
    from huggingface_hub import constants
    from transformers import logging as reports

    before = constants.HF_HUB_OFFLINE, sys.stdin
    verbosity, bar = reports.get_verbosity(), reports.is_progress_bar_enabled()
    constants.HF_HUB_OFFLINE, sys.stdin = True, io.StringIO()
    reports.set_verbosity(_SILENT)
    reports.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        constants.HF_HUB_OFFLINE, sys.stdin = before
        reports.set_verbosity(verbosity)
        if bar:
            reports.enable_progress_bar()
