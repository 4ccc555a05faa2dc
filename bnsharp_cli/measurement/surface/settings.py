"""What a caller may choose of a loss surface; nothing heavy is imported."""

from __future__ import annotations

from typing import Literal

LayoutSetting = Literal["auto", "plain"]
"""``plain`` is torch's own memory layout; ``auto`` may take channels last where that is known to be right."""

EVERY_PARAMETER, TRAINED_PARAMETERS = "all", "trainable"
"""The words that choose parameters without naming them."""
