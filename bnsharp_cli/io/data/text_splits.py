"""Texts in tokens as examples: windows of a language model, or whole texts of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from bnsharp_cli.errors import CheckpointRefusedError, counted, named, shown
from bnsharp_cli.io.data.forms import CROSS_ENTROPY
from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.text_files import LabelledText, read_texts
from bnsharp_cli.io.data.text_networks import TOKENIZER, TextNetwork
from bnsharp_cli.io.data.tokenizing import Tokens, tokenized
from bnsharp_cli.io.files.printable_text import escaped, shown_path
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.tensor_trees import TensorTree
from bnsharp_cli.measurement.surface.token_loss import IGNORED

_MOST_NAMES, _MOST_CLASSES = 8, 2**31


@dataclass(frozen=True)
class TextSplit:
    """Examples in tokens.

    Attributes:
        begins: the place of each example's first token in ``numbers``.
        lengths: how many tokens the network sees of it.
        batch: the examples with given numbers as the network gets them.
        name: of the file.
        unit: what an example is called, in one.
        notices: what the user must know.
    """

    begins: Tensor
    lengths: Tensor
    batch: Callable[[Tensor, Tensor], Batch]
    name: str
    unit: str
    notices: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def longest(self) -> int:
        """Tokens of the longest example."""
        return int(self.lengths.max())

    def load(self, indices: Tensor, _: Preprocessing) -> Batch:
        """The examples at ``indices``, filled up to the longest of them."""
        return self.batch(self.begins[indices], self.lengths[indices])

    def name_of(self, index: int) -> str:
        """The number of the example in the file, from 1 on."""
        return f"{self.unit} {index + 1} of {self.name}"


def open_texts(path: Path, network: TextNetwork, context: int, loss: str) -> TextSplit:
    """The examples in a file of text.

    Args:
        path: ``.txt`` or ``.jsonl``.
        network: whose tokenizer cuts it.
        context: tokens that the network sees at once.
        loss: of the network: that of classes wants a label for each text, and every other one the token that follows.

    Raises:
        NamedDataError: a file that cannot be read, without labels where they are needed, or with too little text.
        CheckpointRefusedError: a tokenizer that cannot be read, or belongs to another network.
    """
    texts = read_texts(path)
    if loss == CROSS_ENTROPY:
        return _whole_texts(path, texts, network, context)
    return _windows(path, texts, network, context)


def _windows(path: Path, texts: Sequence[LabelledText], network: TextNetwork, context: int) -> TextSplit:
    """Every token of each text but the first is predicted once, from those before it in its window."""
    paired = next((one for one in texts if one.text.second is not None), None)
    if paired is not None:
        raise NamedDataError(f"{paired.name} has a text_pair, which a language model does not take.", "Join the texts.")
    tokens = _tokens(network, texts)
    begins: list[int] = []
    lengths: list[int] = []
    place = 0
    for count in tokens.counts:
        starts = range(place, place + count - 1, context)
        begins += starts
        lengths += [min(context, place + count - 1 - start) for start in starts]
        place += count
    if not begins:
        raise NamedDataError(f"{shown_path(path)} has no token that follows another one.", "Use a longer text.")
    short = sum(count < 2 for count in tokens.counts)
    padding = network.padding or 0

    def batch(firsts: Tensor, sizes: Tensor) -> Batch:
        places, counts = _places(firsts, sizes)
        following = (places + 1).clamp_max(len(tokens.numbers) - 1)
        inputs, targets = (tokens.numbers[one].long() for one in (places, following))
        return torch.where(counts, inputs, padding), torch.where(counts, targets, IGNORED)

    notices = (f"{counted(short, 'text')} of fewer than 2 tokens left out",) if short else ()
    return TextSplit(torch.tensor(begins), torch.tensor(lengths), batch, shown_path(path), "window", notices)


def _whole_texts(path: Path, texts: Sequence[LabelledText], network: TextNetwork, context: int) -> TextSplit:
    """Each text with its label; the ends of longer ones than the context are left out."""
    labels = torch.tensor([_class(one, network) for one in texts])
    tokens = _tokens(network, texts, context)
    empty = next((one for one, count in zip(texts, tokens.counts, strict=True) if not count), None)
    if empty is not None:
        raise NamedDataError(f"{empty.name} has no token.", "Remove it.")
    most = max(tokens.counts)
    if most > context:  # the library cuts nothing where special tokens alone are more
        raise NamedDataError(
            f"The tokenizer adds so many special tokens that no text fits into {counted(context, 'token')}.",
            f"Raise {named('context')}.",
            expected=f"at most {counted(context, 'token')}",
            found=most,
        )
    lengths = torch.tensor(tokens.counts)
    begins, padding = lengths.cumsum(0) - lengths, network.padding or 0
    of_pairs = network.takes_kinds and bool(tokens.kinds.any())

    def batch(firsts: Tensor, sizes: Tensor) -> Batch:
        places, counts = _places(firsts, sizes)
        numbers = tokens.numbers[places].long()
        inputs = {"input_ids": torch.where(counts, numbers, padding), "attention_mask": counts.long()}
        if of_pairs:
            inputs["token_type_ids"] = torch.where(counts, tokens.kinds[places].long(), 0)
        return cast(Tensor, TensorTree.of(inputs)), labels[torch.searchsorted(begins, firsts)]

    cut = f"{tokens.cut:,} of {counted(len(texts), 'text')} are longer than {context} tokens, and their ends left out"
    notices = (f"{cut}: {named('context')} takes more",) if tokens.cut else ()
    return TextSplit(begins, lengths, batch, shown_path(path), "text", notices)


def _places(firsts: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """(N, T): where each token is, T those of the longest example; and which ones count."""
    along = torch.arange(int(sizes.max()))
    counts = along < sizes[:, None]
    return torch.where(counts, firsts[:, None] + along, firsts[:, None]), counts


def _tokens(network: TextNetwork, texts: Sequence[LabelledText], longest: int | None = None) -> Tokens:
    path = network.directory / TOKENIZER
    tokens = tokenized(path, network.tokenizer, [one.text for one in texts], longest=longest)
    most, known = int(tokens.numbers.max()) if len(tokens.numbers) else 0, network.vocabulary
    if known is not None and most >= known:
        raise CheckpointRefusedError(
            f"{shown_path(path)} makes token {most:,}, the network has {known:,} (0 … {known - 1:,}).",
            "Use the tokenizer that the network was trained with.",
            expected=f"tokens below {known}",
            found=most,
            subject=path,
        )
    return tokens


def _class(text: LabelledText, network: TextNetwork) -> int:
    """The number of its class.

    Raises:
        NamedDataError: it has no label, or one that is no number or name of a class.
    """
    if type(text.label) is int:
        if not 0 <= text.label < _MOST_CLASSES:
            raise NamedDataError(
                f"{text.name} has the label {text.label}, and classes are numbered from 0.",
                "Give the number of the class, or its name in config.json.",
                expected="the number of a class",
                found=text.label,
            )
        return text.label
    if text.label is None:
        raise NamedDataError(
            f"{text.name} has no label, which a classifier needs.",
            'Use a file .jsonl of objects such as {"text": "a sentence", "label": 1}.',
        )
    classes = network.classes
    if text.label in classes:
        return classes[str(text.label)]
    names = ", ".join(escaped(name, 40) for name in [*classes][:_MOST_NAMES]) or "no names"
    raise NamedDataError(
        f"{text.name} has the label '{shown(text.label)[:40]}', the network's classes have {names}.",
        "Give the number of the class, or its name in config.json.",
    )
