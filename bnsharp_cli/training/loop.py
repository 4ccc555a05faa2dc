"""The training loop: one epoch at a time, with the state that another process needs to go on from there."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.errors import NotMeasurableError, UsageError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.foreign_errors import NO_GRADIENT, accepting, require_graph
from bnsharp_cli.measurement.surface.processes import ALONE, Processes
from bnsharp_cli.measurement.surface.tensor_trees import map_tensors
from bnsharp_cli.training.augmentation import Augmentation
from bnsharp_cli.training.closures import GradientWeight, LossClosure, require_loss
from bnsharp_cli.training.divergence import LOWER_RATE, infinite_loss
from bnsharp_cli.training.evaluation import LossFunction, batch_loss, outputs_of_batch
from bnsharp_cli.training.examples import Examples
from bnsharp_cli.training.mixed_precision import choose_precision
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.registry import registered_rule
from bnsharp_cli.training.rules import TrainingRule
from bnsharp_cli.training.saved_state import TrainingPlan, fitting_state, order_after
from bnsharp_cli.training.schedules import learning_rate_in

StepObserver = Callable[[int, float], None]
"""Called after each step with the number of steps of the epoch that are done, and the loss of the last."""


def unobserved(_: int, __: float) -> None:
    """Take no notice of a step."""


class Training:
    """A network in training.

    One generator draws the order of the examples, epoch by epoch. Everything else that is random (dropout, crops, the
    further batches of a rule) is seeded anew in each epoch, so that its state need not be kept.

    In several processes each takes an equal share of every batch: batch norm uses the statistics of the share, losses
    and gradients are averaged, and the running statistics are those of the first process, as in torch's
    ``DistributedDataParallel``.

    Args:
        module: the network; trained in place, moved to ``device``.
        examples: the training split, the same on every process.
        options: how it is trained.
        criterion: mean loss of a batch from outputs and targets.
        black: the value of a black pixel after normalisation, (1, C, 1, 1), for crops; None for 0.
        blocks: finds the scale-invariant rows, for rules that need them.
        device: where to compute; None for the CPU.
        processes: the processes that share each batch.

    Attributes:
        rule: the training rule.
        epoch: how many epochs are done.
        gradients: how many gradients of batches were computed.
        batch_size: samples in a batch, over all processes.

    Raises:
        UsageError: no examples, batches that the processes cannot share equally, or a rule whose blocks are missing.

    >>> from bnsharp_cli.training.examples import ExamplesInMemory
    >>> _ = torch.manual_seed(0)
    >>> network, inputs, targets = nn.Linear(4, 3), torch.randn(8, 4), torch.arange(8) % 3
    >>> options = TrainingOptions(rule="sam", batch_size=4)
    >>> training = Training(network, ExamplesInMemory(inputs, targets), options)
    >>> losses = [training.run_epoch() for _ in range(3)]
    >>> losses[2] < losses[0], training.epoch, training.gradients
    (True, 3, 12)
    """

    def __init__(
        self,
        module: nn.Module,
        examples: Examples,
        options: TrainingOptions,
        criterion: LossFunction = functional.cross_entropy,
        *,
        black: Tensor | None = None,
        blocks: Callable[[], Blocks] | None = None,
        device: torch.device | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.module = module.to(self.device)
        self.options = options
        self.rule = _rule(self.module, options, blocks or _no_blocks)
        self.rule.differentiate = self._differentiate
        self.epoch = 0
        self.gradients = 0
        self._targets: Any = None
        self._examples, self._criterion, self._processes = examples, criterion, processes
        self.batch_size = _batch_size(options, len(examples), processes.count)
        self._order = torch.Generator().manual_seed(options.seed)
        self._precision = choose_precision(options.amp, self.rule, self.device)
        self._augmentation = Augmentation(options.augment, torch.zeros(1, 1, 1, 1) if black is None else black)
        self._share_first(dict(self.module.state_dict()))

    @property
    def steps(self) -> int:
        """The number of steps of an epoch."""
        return len(self._examples) // self.batch_size

    def run_epoch(self, observe: StepObserver = unobserved) -> float:
        """Train for one more epoch.

        Args:
            observe: called after each step.

        Returns:
            The mean loss of its steps.

        Raises:
            NotMeasurableError: a loss or a weight became NaN or infinite, or the network or the criterion failed.
            DataRefusedError: no loss of these targets is finite.
        """
        for group in self.rule.param_groups:
            group["lr"] = self.learning_rate
        self.module.train()
        losses: list[float] = []
        with (
            torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []),
            torch.autocast(self.device.type, enabled=False),  # the options say the precision, not the program around
        ):
            torch.manual_seed(self._seed("network", self._processes.rank))
            for closures in self._steps():
                losses.append(float(self.rule.step(*closures)))
                if not math.isfinite(losses[-1]):
                    raise infinite_loss(losses[-1], self.epoch + 1, self._targets)
                observe(len(losses), losses[-1])
            self._refresh_statistics()
        self.rule.end_epoch()
        self._share_first(dict(self.module.named_buffers()))
        self._require_finite_weights()
        self.epoch += 1
        return math.fsum(losses) / len(losses)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next epoch."""
        return learning_rate_in(self.options, self.epoch)

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`load_state_dict` needs, as plain containers, numbers and tensors on the CPU."""
        state = {
            "epoch": self.epoch,
            "gradients": self.gradients,
            "state_dict": dict(self.module.state_dict()),
            "rule": self.rule.state_dict(),
            "order": self._order.get_state(),
            "precision": self._precision.state_dict(),
        }
        return {key: map_tensors(lambda tensor: tensor.detach().cpu(), value) for key, value in state.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run with the same options was.

        Raises:
            UnfitStateError: a state that no such run has written; nothing is changed then.
        """
        order = partial(order_after, self.options.seed, len(self._examples))
        plan = TrainingPlan(self.options.epochs, self.steps, partial(learning_rate_in, self.options), order)
        fitting = fitting_state(state, self.module, self.rule, self._precision, plan)
        self.module.load_state_dict(fitting.weights)
        self.rule.load_state_dict(fitting.rule)
        self._order.set_state(fitting.order)
        self._precision.load_state_dict(fitting.precision)
        self.epoch, self.gradients = fitting.epoch, fitting.gradients

    def _steps(self) -> Iterator[tuple[LossClosure, ...]]:
        """The closures of each step, as many as the rule takes.

        Over an epoch the first closures see every example once, and so do the second ones, in another order.
        """
        wanted = self.rule.batches_per_step
        further = torch.Generator().manual_seed(self._seed("batches"))
        orders = [torch.randperm(len(self._examples), generator=self._order)]
        orders += [torch.randperm(len(self._examples), generator=further) for _ in range(wanted - 1)]
        share = self.batch_size // self._processes.count
        begin = share * self._processes.rank
        batches = [[part[begin : begin + share] for part in self._whole_batches(order)] for order in orders]
        augmenting = torch.Generator().manual_seed(self._seed("augmentation", self._processes.rank))
        examples = self._examples.batches([*chain.from_iterable(zip(*batches, strict=True))])
        closures = (self._closure(batch, augmenting) for batch in examples)
        return zip(*[closures] * wanted, strict=True)

    def _whole_batches(self, order: Tensor) -> tuple[Tensor, ...]:
        """The numbers of the examples, batch by batch, without an incomplete last one."""
        return torch.split(order, self.batch_size)[: self.steps]

    def _closure(self, batch: Batch, generator: torch.Generator) -> LossClosure:
        """A closure that computes the loss of a batch, which is augmented once."""
        inputs, targets = (tensor.to(self.device, non_blocking=True) for tensor in batch)
        self._targets = targets
        if self.options.augment:
            inputs = self._augmentation(inputs, generator)

        def closure() -> Tensor:
            with self._precision.autocast():
                return batch_loss(self._criterion, outputs_of_batch(self.module, inputs), targets)

        return closure

    def _differentiate(self, closure: LossClosure, weight: GradientWeight | None = None) -> Tensor:
        """Compute a gradient; see :attr:`~bnsharp_cli.training.rules.TrainingRule.differentiate`."""
        answer = closure()
        require_graph(answer)
        loss = require_loss(answer)
        mean = loss.detach().clone()
        self._average({"loss": mean})
        weighted = loss if weight is None else weight(float(mean)) * loss
        with accepting("The network cannot be differentiated", NO_GRADIENT):
            self._precision.backward(weighted, lambda: self._average(self._gradients()))
        self.gradients += 1
        return mean

    def _gradients(self) -> dict[str, Tensor]:
        return {name: p.grad for name, p in self.module.named_parameters() if p.grad is not None}

    def _average(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        if self._processes.count == 1:
            return
        self._processes.agree()
        for tensor, total in zip(tensors.values(), self._processes.total(dict(tensors)).values(), strict=True):
            tensor.copy_(total / self._processes.count)

    def _refresh_statistics(self) -> None:
        """Compute the running statistics again where the rule leaves those of earlier parameters."""
        if self.rule.refreshes_statistics:
            batches = self._examples.batches(self._whole_batches(torch.arange(len(self._examples))))
            with accepting("The running statistics cannot be computed again", "Mend the network."):
                torch.optim.swa_utils.update_bn(batches, self.module, self.device)

    def _share_first(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the tensors by those of the first process."""
        for tensor, first in zip(tensors.values(), self._processes.first(tensors).values(), strict=True):
            if tensor is not first:
                tensor.copy_(first)

    def _require_finite_weights(self) -> None:
        for name, tensor in self.module.state_dict().items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                reason = f"'{name}' became NaN or infinite in epoch {self.epoch + 1}."
                raise NotMeasurableError(reason, LOWER_RATE, expected="finite weights", found=name)

    def _seed(self, purpose: str, rank: int = 0) -> int:
        """The seed of one kind of random numbers in the present epoch."""
        text = f"{self.options.seed}/{self.epoch}/{purpose}/{rank}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])


def _batch_size(options: TrainingOptions, samples: int, processes: int) -> int:
    """The size of a batch, at most that of the data."""
    size = min(options.batch_size, samples)
    if not size:
        raise UsageError.of("examples", "at least one example", samples, "Give some to learn from.")
    if size % processes:
        raise UsageError(
            f"{named('batch_size')}: {processes} processes cannot share {size} samples equally.",
            "Name a multiple of their number.",
            argument="batch_size",
            expected=f"a multiple of {processes}",
            found=size,
        )
    return size


def _rule(module: nn.Module, options: TrainingOptions, blocks: Callable[[], Blocks]) -> TrainingRule:
    return registered_rule(options.rule).rule_class.from_options(
        module,
        options.own_options,
        blocks,
        lr=options.learning_rate,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        nesterov=options.nesterov,
        clip_gradient=options.clip_gradient,
    )


def _no_blocks() -> Blocks:
    raise UsageError(
        f"{named('blocks')}: this rule has to know which rows are scale-invariant.",
        "Pass what finds them.",
        argument="blocks",
        expected="a function that returns the blocks",
        found="None",
    )
