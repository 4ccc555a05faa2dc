"""What a caller may choose of a loss surface; nothing heavy is imported."""

from __future__ import annotations

from typing import Literal

LayoutSetting = Literal["auto", "plain"]
"""``plain`` is torch's own memory layout; ``auto`` may take channels last where that is known to be right."""

SMALL_MEMORY = "small"
"""The word for measuring without a second copy of the weights."""

MemorySetting = Literal["ample", "small"]
"""``small`` holds nothing of the size of the network but one gradient; ``ample`` is faster and has every measure."""

EVERY_PARAMETER, TRAINED_PARAMETERS = "all", "trainable"
"""The words that choose parameters without naming them."""
