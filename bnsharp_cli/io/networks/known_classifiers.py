"""Builds image classifiers of transformers from those settings of an untrusted file that are safe."""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_NAMES = """
beit bit convnext convnextv2 cvt data2vec-vision deit dinov2 dinov2_with_registers donut-swin efficientnet focalnet
hgnet_v2 hiera ijepa levit mobilenet_v1 mobilenet_v2 mobilevit mobilevitv2 poolformer pp_lcnet pvt pvt_v2 regnet resnet
segformer siglip swiftformer swin swinv2 textnet vit vit_msn
"""
CLASSIFIER_KINDS = frozenset(_NAMES.split())
"""Classifiers of images alone that need no other library, and of whose parts the file does not choose the kind."""

_BOOKKEEPING = {"architectures", "id2label", "label2id", "num_labels", "problem_type", "transformers_version"}


def declared(configuration: type[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The ``settings`` that a configuration class declares itself, and those that every classifier has.

    Transformers would make an attribute of every other setting, and obeys some of these: the name of a class, of code
    or of an implementation to fetch, another name for a setting, a precision, a form of the outputs.

    Args:
        configuration: a configuration class of transformers; it fixes the classes of nested configurations.
        settings: from the file.
    """
    from transformers import PreTrainedConfig

    common, own = (inspect.signature(one.__init__).parameters for one in (PreTrainedConfig, configuration))
    names = own.keys() - common.keys() | _BOOKKEEPING
    parts = configuration.sub_configs
    return {
        key: declared(parts[key], value) if key in parts and isinstance(value, dict) else value
        for key, value in settings.items()
        if key in names and not key.startswith("_")
    }


@contextmanager
def alone() -> Iterator[None]:
    """Meanwhile transformers fetches nothing, whatever the environment says, and a question that it asks has no answer.

    It asks on the terminal whether it may run code from a file.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, sys.stdin
    constants.HF_HUB_OFFLINE, sys.stdin = True, io.StringIO()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, sys.stdin = before
