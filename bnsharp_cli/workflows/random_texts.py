"""Random texts for a network that no data is given for: numbers of tokens, as transformers' settings say they go."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_LENGTH = 16


def random_texts(settings: Any, count: int, seed: int) -> Tensor:
    """Random tokens (count, length), none of them one that fills or ends a text, but for an end where there is one.

    Args:
        settings: of a network, an object of transformers.
        count: how many texts.
        seed: of the tokens.
    """
    ends = settings.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    special = {one for one in (*ends, settings.pad_token_id) if one is not None}
    words = torch.tensor([word for word in range(settings.vocab_size) if word not in special] or [0])
    positions = getattr(settings, "max_position_embeddings", 2 * _LENGTH)  # some begin to count behind those that fill
    length = max(1, min(_LENGTH, positions // 2))
    drawn = torch.randint(len(words), (count, length), generator=torch.Generator().manual_seed(seed))
    texts = words[drawn]
    if ends[0] is not None:
        texts[:, -1] = ends[0]
    return texts
