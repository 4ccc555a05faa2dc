"""Names the networks of transformers that are built, and keeps them from everything else meanwhile."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.io.checkpoints.checkpoint import Checkpoint
from bnsharp_cli.io.checkpoints.model_directory import HUGGINGFACE, refusal
from bnsharp_cli.io.files.printable_text import one_line


@dataclass(frozen=True)
class Head:
    """What a network answers with.

    Attributes:
        words: what such a network is called.
        table: transformers' own table of its classes.
        kinds: of such networks that are built here, as ``model_type`` names them.
        endings: of the names of its classes.
        takes_text: whether its inputs are numbers of tokens; images otherwise.
    """

    words: str
    table: str
    kinds: frozenset[str]
    endings: tuple[str, ...]
    takes_text: bool = True

    def is_of(self, architecture: str) -> bool:
        """Whether a class has this head, by its name."""
        return architecture.endswith(self.endings)

    def __str__(self) -> str:
        return f"{self.words} (…{' or …'.join(self.endings)})"


_OF_IMAGES = """
beit bit convnext convnextv2 cvt data2vec-vision deit dinov2 dinov2_with_registers donut-swin efficientnet focalnet
hgnet_v2 hiera ijepa levit mobilenet_v1 mobilenet_v2 mobilevit mobilevitv2 poolformer pp_lcnet pvt pvt_v2 regnet resnet
segformer siglip swiftformer swin swinv2 textnet vit vit_msn
"""
_ENCODERS = """
albert bert camembert deberta deberta-v2 distilbert electra modernbert mpnet roberta t5 xlm-roberta
"""
_DECODERS = "gemma gemma2 gpt2 gpt_neox llama mistral olmo2 opt phi qwen2 qwen3 smollm3 stablelm starcoder2"

IMAGE_CLASSIFIER = Head(
    "image classifier",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING",
    frozenset(_OF_IMAGES.split()),
    ("ForImageClassification",),
    takes_text=False,
)
"""Of images alone."""

TEXT_CLASSIFIER = Head(
    "text classifier",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    frozenset(_ENCODERS.split() + _DECODERS.split()),
    ("ForSequenceClassification",),
)
"""From tokens (samples, positions) to scores (samples, classes)."""

LANGUAGE_MODEL = Head(
    "causal language model", "MODEL_FOR_CAUSAL_LM_MAPPING", frozenset(_DECODERS.split()), ("ForCausalLM", "LMHeadModel")
)
"""From tokens (samples, positions) to scores of the token after each of them (samples, positions, vocabulary)."""

HEADS = (IMAGE_CLASSIFIER, TEXT_CLASSIFIER, LANGUAGE_MODEL)
"""Their networks need no other library, and the file does not choose the kind of any of their parts."""

_SILENT = logging.CRITICAL + 1


def head_of(directory: Path, configuration: Mapping[str, Any]) -> Head:
    """The head that the network of a directory has.

    A kind may have several; then ``architectures`` of the configuration names one.

    Args:
        directory: for the messages.
        configuration: from :func:`~bnsharp_cli.io.checkpoints.model_directory.read_configuration`.

    Raises:
        CheckpointRefusedError: no kind and head that are built here, or several heads.
    """
    kind, stated = configuration["model_type"], configuration.get("architectures")
    possible = [head for head in HEADS if kind in head.kinds]
    if not possible:
        raise refusal(directory, f"'{one_line(kind)}' is no network that is built here, as vit, bert or gpt2 is")
    if not possible[0].takes_text:
        return possible[0]
    names = [name for name in stated if isinstance(name, str)] if isinstance(stated, list) else []
    found = {head for head in possible for name in names if head.is_of(name)}
    if len(found) == 1:
        return found.pop()
    expected = " or ".join(map(str, possible))
    what = f"architectures names {one_line(', '.join(names), 80)}" if names else "it has no architectures"
    raise refusal(directory, f"its head is not known: {what}, expected one {expected}")


def text_head(identity_spec: str, checkpoint: Checkpoint) -> Head | None:
    """The head of a directory's network of texts; None for any other network.

    Args:
        identity_spec: the network, as it is named.
        checkpoint: with the directory's configuration, if it is one.

    Raises: as :func:`head_of`.
    """
    configuration = checkpoint.metadata.get("config")
    if not identity_spec.startswith(f"{HUGGINGFACE}:") or not isinstance(configuration, Mapping):
        return None
    head = head_of(checkpoint.path, configuration)
    return head if head.takes_text else None


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
