"""What a network of texts says of itself: its tokenizer, what it answers, and how many tokens it sees at once."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.checkpoints.model_directory import read_member
from bnsharp_cli.io.containers.bounded_json import bounded_json
from bnsharp_cli.io.data.forms import CROSS_ENTROPY, TOKEN_CROSS_ENTROPY
from bnsharp_cli.io.files.printable_text import one_line, shown_path

TOKENIZER, _TOKENIZER_SETTINGS = "tokenizer.json", "tokenizer_config.json"
LARGEST_TOKENIZER, _LARGEST_SETTINGS = 64 * 2**20, 8 * 2**20
USUAL_CONTEXT = 128
"""Tokens that are seen at once, where the network takes so many and nobody says otherwise."""

_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
_NAMES = """
camembert data2vec-text ibert lilt longformer mpnet roberta roberta-prelayernorm xlm-roberta xlm-roberta-xl
"""
_BEHIND_PADDING = frozenset(_NAMES.split())
"""Networks whose positions are numbered from behind that of padding, so that as many fewer are there."""

_CLASSIFIERS, _LANGUAGE_MODELS = ("ForSequenceClassification",), ("ForCausalLM", "LMHeadModel")
_MOST_POSITIONS = 2**20
_OF_NUMBERS = ("regression", "multi_label_classification")
_NUMBER = re.compile("[0-9]{1,9}")
"""Of a class."""


@dataclass(frozen=True)
class TextNetwork:
    """A network of texts, as its directory describes it.

    Attributes:
        directory: of its files.
        config: what is in ``config.json``; empty without one.
        module: the network.
    """

    directory: Path
    config: Mapping[str, Any]
    module: nn.Module

    def require_tokenizer(self) -> None:
        """Refuse a network without a tokenizer beside it.

        Raises:
            UsageError: it is no directory, or has none.
        """
        if not os.path.isdir(self.directory) or not os.path.lexists(self.directory / TOKENIZER):  # noqa: PTH112 - as Path.is_dir raises
            raise UsageError(
                f"{named('data')} text:FILE needs the tokenizer of the network: {shown_path(self.directory)} has no "
                f"{TOKENIZER}.",
                "Name a directory that model.save_pretrained and the save_pretrained of a fast tokenizer wrote.",
                argument="data",
                expected=f"a directory with {TOKENIZER}",
                found=str(self.directory),
                subject=self.directory,
            )

    @cached_property
    def tokenizer(self) -> bytes:
        """What is in ``tokenizer.json``."""
        return read_member(self.directory, TOKENIZER, LARGEST_TOKENIZER)

    @property
    def tokenizer_sha256(self) -> str:
        """The digest of the tokenizer."""
        return hashlib.sha256(self.tokenizer).hexdigest()

    @property
    def _architecture(self) -> str:
        """What transformers calls it; empty where it does not say."""
        stated = self.config.get("architectures")
        return one_line(stated[0]) if isinstance(stated, list) and stated else ""

    def require_classes(self) -> None:
        """Refuse a language model where the loss is one of classes, and a network that answers with other numbers.

        Raises:
            UsageError: it is one.
        """
        if self.config.get("problem_type") in _OF_NUMBERS or self._answers == 1:
            raise UsageError(
                f"{shown_path(self.directory)} answers with numbers that are no scores of classes: problem_type or "
                "num_labels in config.json say so.",
                f"{named('data')} text:FILE is for classes; measure this network in Python, with its own loss.",
                argument="data",
                expected="scores of at least 2 classes",
                found=self.config.get("problem_type") or "1 number",
                subject=self.directory,
            )
        if self._architecture.endswith(_LANGUAGE_MODELS):
            raise UsageError(
                f"{self._architecture} is a language model, and the loss is that of a class for each text.",
                f"Measure it with {named('loss')} {TOKEN_CROSS_ENTROPY}; there is no bound for that.",
                argument="loss",
                expected=TOKEN_CROSS_ENTROPY,
                found=CROSS_ENTROPY,
            )

    def require_padding(self) -> None:
        """Refuse to put texts of several lengths into one batch of a network that has no token for that.

        Raises:
            UsageError: ``config.json`` names none.
        """
        if self.config and self.padding is None:
            raise UsageError(
                f"{shown_path(self.directory)} names no pad_token_id in config.json, to fill up the texts of a batch.",
                f"Add the one that the network was trained with, or give {named('batch_size')} 1.",
                argument="batch_size",
                expected="1, or a network with a pad_token_id",
                found=self.config.get("pad_token_id"),
                subject=self.directory,
            )

    def usual_loss(self) -> str:
        """The loss of such a network: of classes, or of tokens where it is a language model or does not say.

        Raises:
            UsageError: it is neither.
        """
        name = self._architecture
        if name.endswith(_CLASSIFIERS):
            return CROSS_ENTROPY
        if not name or name.endswith(_LANGUAGE_MODELS):
            return TOKEN_CROSS_ENTROPY
        ends = ", ".join((*_CLASSIFIERS, *_LANGUAGE_MODELS))
        raise UsageError(
            f"{named('data')} text:FILE is for text classifiers and causal language models, whose architecture ends in "
            f"{ends}.",
            f"Measure such a network, or say with {named('loss')} {CROSS_ENTROPY} or {TOKEN_CROSS_ENTROPY} what it is.",
            argument="data",
            expected=ends,
            found=name,
        )

    @property
    def most_tokens(self) -> int | None:
        """How many tokens it sees at once at most; None where it does not say."""
        stated = (*(self.config.get(name) for name in _POSITIONS), self._settings.get("model_max_length"))
        known = [number for number in stated if type(number) is int and 0 < number <= _MOST_POSITIONS]
        if not known:
            return None
        behind = (self.padding or 0) + 1 if self.config.get("model_type") in _BEHIND_PADDING else 0
        return max(1, min(known) - behind)

    @property
    def vocabulary(self) -> int | None:
        """How many tokens it knows; None where it does not say."""
        embedding = getattr(self.module, "get_input_embeddings", lambda: None)()
        stated = getattr(embedding, "num_embeddings", self.config.get("vocab_size"))
        return stated if type(stated) is int else None

    @property
    def padding(self) -> int | None:
        """The number of the token that fills up short texts; None where it does not say."""
        stated = self.config.get("pad_token_id")
        return stated if type(stated) is int and 0 <= stated < (self.vocabulary or 0) else None

    @property
    def classes(self) -> dict[str, int]:
        """The numbers of classes by their names, as far as ``config.json`` has them, each name for one class."""
        names = self.config.get("id2label")
        pairs = [(name, str(number)) for number, name in names.items()] if isinstance(names, dict) else []
        often = Counter(name for name, _ in pairs if isinstance(name, str))
        return {name: int(number) for name, number in pairs if often.get(name) == 1 and _NUMBER.fullmatch(number)}

    @cached_property
    def takes_kinds(self) -> bool:
        """Whether it is told which of two texts a token belongs to.

        Some networks take such numbers without weights for them: GPT-2 would add the embeddings of the tokens 0 and 1.
        """
        known = getattr(self.module, "config", None)
        has_weights = known is None or getattr(known, "type_vocab_size", 0) > 1
        return has_weights and "token_type_ids" in inspect.signature(self.module.forward).parameters

    @property
    def _answers(self) -> int | None:
        """How many numbers it answers with for a text; None where it does not say."""
        return getattr(getattr(self.module, "config", None), "num_labels", None)

    @cached_property
    def _settings(self) -> Mapping[str, Any]:
        """What is in ``tokenizer_config.json``; nothing where it is not there, or no table."""
        if not os.path.lexists(self.directory / _TOKENIZER_SETTINGS):
            return {}
        try:
            entries = bounded_json(read_member(self.directory, _TOKENIZER_SETTINGS, _LARGEST_SETTINGS))
        except (ValueError, RecursionError):  # many write numbers there that are no lengths
            return {}
        return entries if isinstance(entries, dict) else {}
