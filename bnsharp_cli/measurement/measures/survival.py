"""Rescalings that leave a measure as it is: measured, not derived. Nothing here imports torch.

Each of these rescalings leaves the function as it is. ``tests/measurement/measures/test_survival.py`` measures networks
before and after, and holds every claim against what it finds; a measure that a new entry adds has no claim until it
stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Rescaling(StrEnum):
    """A rescaling that leaves the function of a network as it is.

    >>> Rescaling("T_a").meaning
    'rows before a norm, each times its own factor'
    """

    T_A = "T_a"
    NORM = "norm"
    CLASSIFIER = "head"
    LAYER = "layer"
    NEURON = "neuron"
    ATTENTION = "attention"

    @property
    def meaning(self) -> str:
        """What is rescaled."""
        return _MEANINGS[self]


_MEANINGS = {
    Rescaling.T_A: "rows before a norm, each times its own factor",
    Rescaling.NORM: "what a norm undoes jointly: (γ, β) before the next norm",
    Rescaling.CLASSIFIER: "(γ, β) of a norm against the weights that read it, as the classifier",
    Rescaling.LAYER: "a layer against the next one, with a ReLU between them",
    Rescaling.NEURON: "every neuron of a layer by its own factor, likewise",
    Rescaling.ATTENTION: "queries against keys, values against what reads them",
}

_EVERY = tuple(Rescaling)
_OF_TENSORS = (Rescaling.NORM, Rescaling.CLASSIFIER, Rescaling.LAYER)

SURVIVES: Mapping[str, tuple[Rescaling, ...]] = {
    "bn": (Rescaling.T_A,),
    "bn-extended": (Rescaling.T_A, Rescaling.NORM),
    "bn-filter": (Rescaling.T_A, *_OF_TENSORS),
    "bn-layer": _OF_TENSORS,
    "bn-element": _EVERY,
    "delta-lp": (),
    "delta-linf": (),
    "keskar": (),
    "noise": (Rescaling.T_A, *_OF_TENSORS),
    "critical-radius": (Rescaling.T_A, *_OF_TENSORS),
    "pac-bayes-sigma": (Rescaling.T_A, *_OF_TENSORS),
    "adaptive": _EVERY,
    "hessian": (Rescaling.T_A,),
    "relative-flatness": (Rescaling.T_A, *_OF_TENSORS, Rescaling.ATTENTION),
    "gradient-norm": (),
    "weight-norm": (),
    "loss": _EVERY,
    "margin": _EVERY,
    "entropy": _EVERY,
    "random": _EVERY,
}
"""By the name of a measurement, which for BN-Sharpness says its partition; with the default options otherwise."""


def rows_of(measure: str) -> dict[str, tuple[Rescaling, ...]]:
    """What a measure survives, by the name of a measurement; of BN-Sharpness there is one for each partition.

    >>> rows_of("keskar")
    {'keskar': ()}
    """
    return {name: own for name, own in SURVIVES.items() if name == measure or name.startswith(f"{measure}-")}
