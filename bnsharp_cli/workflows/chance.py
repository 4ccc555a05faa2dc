"""Whether a network answers no better than by chance, which mostly means that something was put together wrongly."""

from __future__ import annotations

import math

_SHARE, _DEVIATIONS = 0.1, 3.0
"""How far above chance still counts as near: a share of what is left to all right, and standard deviations."""


_OF_IMAGES = (
    "(2) the images have another size, mean or std than in training, (3) the weights belong to another network, to one "
    "with other strides"
)
_OF_TEXT = "(2) the tokenizer is another one than in training, (3) the weights belong to another network"


def near_chance(accuracy: float, classes: int, samples: int) -> bool:
    """Whether an accuracy is less than a tenth of the way from 1 / ``classes`` to 1, give or take its sampling error.

    >>> near_chance(0.11, 10, 200), near_chance(0.9, 10, 200)
    (True, False)
    """
    if classes < 2 or samples < 1:
        return False
    chance = 1 / classes
    deviation = math.sqrt(chance * (1 - chance) / samples)
    return accuracy < chance + _SHARE * (1 - chance) + _DEVIATIONS * deviation and accuracy < 1


def suspicious_loss(loss: float, tokens: int) -> str:
    """What to tell the user of a loss of tokens on training data; nothing where it is below that of chance.

    >>> suspicious_loss(4.0, 256), suspicious_loss(6.0, 256)[:39]
    ('', 'WARNING: loss 6 on training data is not')
    """
    if tokens < 2 or loss < math.log(tokens):
        return ""
    return (
        f"WARNING: loss {loss:.4g} on training data is not below that of chance (ln {tokens:,} = "
        f"{math.log(tokens):.4g}), so this is hardly the loss that was trained. Likeliest: the tokenizer or the "
        "weights belong to another network"
    )


def suspicion(accuracy: float | None, classes: int, samples: int, *, of_text: bool = False) -> str:
    """What to tell the user of an accuracy on training data; nothing where it is well above chance."""
    if accuracy is None or not near_chance(accuracy, classes, samples):
        return ""
    return (
        f"WARNING: accuracy {accuracy:.2%} on training data is near chance ({1 / classes:.2%} for {classes:,} "
        "classes), so this is hardly the loss that was trained. Likeliest: (1) the labels are numbered otherwise than "
        f"in training, {_OF_TEXT if of_text else _OF_IMAGES}, or are not the trained ones of the file"
    )
