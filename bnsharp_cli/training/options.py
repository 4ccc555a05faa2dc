"""Everything that decides the outcome of a training run besides data and architecture, validated once."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field, fields

from bnsharp_cli.errors import UsageError
from bnsharp_cli.training.augmentation import AUGMENTATIONS
from bnsharp_cli.training.catalogue import RULES, RuleOptions
from bnsharp_cli.training.mixed_precision import FORMATS
from bnsharp_cli.training.schedules import SCHEDULES


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained.

    Attributes:
        rule: a name in ``RULES``.
        epochs: passes over the training data, at least 1.
        batch_size: samples in a batch, over all processes; an incomplete last batch of an epoch is left out.
        learning_rate: of the first epoch.
        momentum: in [0, 1).
        weight_decay: factor of the L2 penalty.
        nesterov: Nesterov's momentum.
        schedule: a name in ``SCHEDULES``.
        milestones: epochs (from 0) at whose start the learning rate is multiplied by ``decay``; for ``step``.
        decay: factor at each milestone.
        clip_gradient: the longest gradient that is not shortened; None for any.
        augment: names in ``AUGMENTATIONS``.
        amp: ``bf16`` or ``fp16`` for mixed precision, which needs CUDA; None for full precision.
        seed: of the initial weights, of the batches and of everything else that is random.
        rule_options: what single rules take.
    """

    rule: str = "sgd"
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    nesterov: bool = False
    schedule: str = "step"
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    clip_gradient: float | None = None
    augment: tuple[str, ...] = ()
    amp: str | None = None
    seed: int = 0
    rule_options: RuleOptions = field(default_factory=RuleOptions)

    def __post_init__(self) -> None:
        _require_known("--rule", self.rule, RULES)
        _require_known("--schedule", self.schedule, SCHEDULES)
        for name in self.augment:
            _require_known("--augment", name, AUGMENTATIONS)
        if self.amp is not None:
            _require_known("--amp", self.amp, FORMATS)
        bounds = {
            "--epochs": self.epochs >= 1,
            "--batch-size": self.batch_size >= 2,
            "--learning-rate": 0 < self.learning_rate < math.inf,
            "--momentum": 0 <= self.momentum < 1,
            "--weight-decay": 0 <= self.weight_decay < math.inf,
            "--milestone": all(milestone >= 0 for milestone in self.milestones),
            "--nesterov": not self.nesterov or self.momentum > 0,
            "--decay": 0 < self.decay <= 1,
            "--clip-gradient": self.clip_gradient is None or self.clip_gradient > 0,
        }
        for name, sound in bounds.items():
            if not sound:
                found = self.milestones if name == "--milestone" else getattr(self, name[2:].replace("-", "_"))
                raise UsageError(f"{name}: {found} is out of range.", "See `bnsharp train --help`.")
        if self.milestones and self.schedule != "step":
            raise UsageError(f"--milestone: --schedule {self.schedule} has none.", "Leave one of them out.")

    def to_dict(self) -> dict[str, object]:
        """Plain containers, for the checkpoint; the options of the rule, and of no other, stand among the others."""
        own = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "rule_options"}
        every = {**own, **self.rule_options.of(self.rule)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in every.items()}


def _require_known(option: str, found: str, known: Collection[str]) -> None:
    if found not in known:
        raise UsageError(f"{option}: expected one of {', '.join(known)}, found '{found}'.", "See --help.")
