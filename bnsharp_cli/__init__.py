"""bnsharp: how sharp the minimum is that a trained network sits in."""

__version__ = "0.1.0"
