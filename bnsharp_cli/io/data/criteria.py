"""The loss that is measured, as a function of outputs and targets: by its name, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.errors import DataRefusedError, UsageError, named
from bnsharp_cli.io.data.forms import CROSS_ENTROPY, LOSS_FORMS, MEAN_SQUARED_ERROR, TOKEN_CROSS_ENTROPY
from bnsharp_cli.io.data.labels import batch_shape, require_labels, require_tokens
from bnsharp_cli.io.files.printable_text import one_line
from bnsharp_cli.io.networks.factories import import_factory, in_users_code, run_factory
from bnsharp_cli.measurement.surface.adapters import takes_tensor
from bnsharp_cli.measurement.surface.token_loss import token_cross_entropy


@dataclass(frozen=True)
class NamedCriterion:
    """A criterion with its name.

    Attributes:
        name: as on the command line.
        criterion: the mean loss of a batch, from outputs and targets.
    """

    name: str
    criterion: Callable[[Any, Any], Any]

    @property
    def tensor_only(self) -> bool:
        """Whether the criterion takes only the prediction tensor, not everything that the network returns."""
        return self.name in CRITERIA or takes_tensor(self.criterion)

    @property
    def of_classes(self) -> bool:
        """Whether targets are classes, so that an accuracy can be reported."""
        return self.name != MEAN_SQUARED_ERROR

    @property
    def of_tokens(self) -> bool:
        """Whether it is a mean over tokens, as which batches count then."""
        return self.name == TOKEN_CROSS_ENTROPY

    def answers(self, outputs: Tensor) -> int:
        """Among how many classes or tokens a network chooses; 0 where its outputs do not say."""
        return 0 if outputs.ndim < 2 else outputs.shape[-1 if self.of_tokens else 1]

    def require_targets(self, outputs: Tensor, targets: Tensor, span: tuple[int, int] | None) -> None:
        """Refuse targets that cannot belong to what a network answers.

        Args:
            outputs: (n, …) of any n examples.
            targets: of some, (N, …).
            span: the smallest and the largest class number of all, or None.

        Raises:
            DataRefusedError: another shape, or class numbers that the network does not have.
        """
        if self.name == CROSS_ENTROPY and outputs.ndim > 1:
            require_labels(outputs, targets, span)
        if self.name == MEAN_SQUARED_ERROR:
            _aligned(outputs[:1], targets[:1])
        if self.of_tokens:
            require_tokens(outputs[:1], targets[:1], span)


def open_criterion(spec: str | None, stated: object = None, usual: str = CROSS_ENTROPY) -> NamedCriterion:
    """The loss that the user names, or else the one that a checkpoint states, or else the usual one.

    Args:
        spec: one of ``LOSS_NAMES``, ``package.module:function`` or ``file.py:function``; a class is called once.
        stated: the checkpoint's own entry, which can name a loss of ours and never code to import.
        usual: the loss of such data.

    Raises:
        UsageError: an unknown name, or a function that cannot be imported.
    """
    if spec is None:
        known = stated is None or (isinstance(stated, str) and stated in CRITERIA)
        if not known:
            raise UsageError(
                f"The checkpoint was trained with the loss '{one_line(stated)}', which is code of yours.",
                f"Name it, or another, with {named('loss')}.",
                argument="loss",
                expected=LOSS_FORMS,
                found=stated,
            )
        spec = str(stated or usual)
    if spec in CRITERIA:
        return NamedCriterion(spec, CRITERIA[spec])
    if not spec.partition(":")[2]:
        raise UsageError.of("loss", LOSS_FORMS, spec, "Name a loss.")
    function = import_factory("loss", spec)
    is_module = isinstance(function, type) and issubclass(function, nn.Module)
    return NamedCriterion(spec, in_users_code(run_factory("loss", spec) if is_module else function, spec))


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean over all entries of (output − target)²; a last dimension of one may be left out on either side.

    Raises:
        DataRefusedError: other shapes, which would otherwise be stretched to each other.
    """
    return functional.mse_loss(*_aligned(outputs, targets))


def _aligned(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and targets of one shape and precision."""
    if outputs.shape not in {targets.shape, (*targets.shape, 1)} and (*outputs.shape, 1) != targets.shape:
        raise DataRefusedError(
            f"The labels are of shape {batch_shape(targets.shape[1:])}, expected {batch_shape(outputs.shape[1:])}.",
            f"Give y that shape, or use {named('loss')} {CROSS_ENTROPY} for class numbers.",
        )
    return outputs, targets.to(outputs.dtype).reshape(outputs.shape)


CRITERIA: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    CROSS_ENTROPY: functional.cross_entropy,
    MEAN_SQUARED_ERROR: mean_squared_error,
    TOKEN_CROSS_ENTROPY: token_cross_entropy,
}
