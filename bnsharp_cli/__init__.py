"""bnsharp: how sharp the minimum is that a trained network sits in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnsharp_cli.api import find_blocks, measure, rescale_test
    from bnsharp_cli.measurement.measures.measurement import Measurement

__version__ = "0.1.0"
__all__ = ["Measurement", "__version__", "find_blocks", "measure", "rescale_test"]


def __getattr__(name: str) -> Any:
    """Import the interface on first use: torch costs seconds, ``bnsharp --help`` must not."""
    if name in {"Measurement", "find_blocks", "measure", "rescale_test"}:
        from bnsharp_cli import api

        return getattr(api, name)
    raise AttributeError(f"module 'bnsharp_cli' has no attribute '{name}'")


def __dir__() -> list[str]:
    """What a notebook completes."""
    return sorted(__all__)
