"""The settings of rotary positions in an untrusted configuration: of known kinds, and every number within a range.

A kind decides which code computes the frequencies. Kinds whose frequencies change with the texts that were seen, or
that list a factor for each frequency, are not among the known ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnsharp_cli.io.networks.setting_ranges import is_in_range

ROTARY = "rope_parameters"
"""The setting that holds them, in one table or in one for each kind of layers."""

_SCALING = "rope_scaling"
_KINDS = frozenset({"default", "linear", "llama3", "yarn"})
_OF_LAYERS = frozenset({"full_attention", "sliding_attention"})
_LENGTH, _FACTOR, _SHARE = (1, 2**24), (1e-3, 1e3), (0.01, 1.0)
_NUMBERS: Mapping[str, tuple[float, float]] = {
    "attention_factor": _FACTOR,
    "beta_fast": _FACTOR,
    "beta_slow": _FACTOR,
    "factor": (1.0, 1e3),
    "high_freq_factor": _FACTOR,
    "low_freq_factor": _FACTOR,
    "mscale": _FACTOR,
    "mscale_all_dim": (0.0, 1e3),
    "original_max_position_embeddings": _LENGTH,
    "partial_rotary_factor": _SHARE,
}
_THETA = "rope_theta"

EARLIER_ROTARY: Mapping[str, str] = {
    _SCALING: _SCALING,
    _THETA: _THETA,
    "global_rope_theta": _THETA,
    "local_rope_theta": _THETA,
    "partial_rotary_factor": "partial_rotary_factor",
    "rotary_emb_base": _THETA,
    "rotary_pct": "partial_rotary_factor",
}
"""Where files of earlier versions have these settings, and what they are called in the table; see ``are_rotary``."""


def are_rotary(name: str, value: object) -> bool:
    """Whether a value may stand for ``ROTARY`` or for one of ``EARLIER_ROTARY``.

    >>> are_rotary("rope_parameters", {"rope_type": "default", "rope_theta": 1e4})
    True
    >>> are_rotary("rope_scaling", {"type": "dynamic", "factor": 2.0}), are_rotary("rotary_pct", 2.0)
    (False, False)
    """
    if name not in (ROTARY, _SCALING):
        return _may_be(EARLIER_ROTARY[name], value)
    if not isinstance(value, Mapping):
        return value is None
    if value.keys() and value.keys() <= _OF_LAYERS:
        return all(one is None or (isinstance(one, Mapping) and _is_table(one)) for one in value.values())
    return _is_table(value)


def _is_table(table: Mapping[str, Any]) -> bool:
    return all(_may_be(name, value) for name, value in table.items())


def _may_be(name: str, value: object) -> bool:
    if name in ("rope_type", "type"):
        return isinstance(value, str) and value in _KINDS
    if name == "truncate":
        return isinstance(value, bool)
    if name == _THETA:
        return is_in_range(_THETA, value, float)
    least, largest = _NUMBERS.get(name, (1.0, 0.0))
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (known and least <= value <= largest)  # type: ignore[operator]  # it is a number then
