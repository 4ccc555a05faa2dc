"""Networks that throw activations away and compute them again for the backward pass: recognised and refused.

``torch.utils.checkpoint`` runs parts of the forward again while gradients are taken. By then the weights that were
handed in for the pass are gone, so it would differentiate another network, or leave weights out without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor
from torch.autograd.graph import Node, disable_saved_tensors_hooks

from bnsharp_cli.errors import NotMeasurableError

_REENTRANT = "CheckpointFunctionBackward"
_HOOKS = "its forward pass keeps activations by saved-tensor hooks"


@contextmanager
def refusing_recomputation() -> Iterator[None]:
    """Refuse a forward pass that puts hooks on what it saves for the backward pass.

    Raises:
        NotMeasurableError: it does.
    """
    try:
        with disable_saved_tensors_hooks(_HOOKS):
            yield
    except NotMeasurableError as error:
        if _HOOKS in str(error):
            raise _refusal() from error
        raise


def require_whole_graph(outputs: Sequence[Tensor]) -> None:
    """Refuse outputs whose graph has a hole that is filled by recomputing.

    Raises:
        NotMeasurableError: it has.
    """
    open_nodes = [output.grad_fn for output in outputs if output.grad_fn is not None]
    seen: set[Node] = set(open_nodes)
    while open_nodes:
        node = open_nodes.pop()
        if node.name() == _REENTRANT:
            raise _refusal()
        following = {child for child, _ in node.next_functions if child is not None} - seen
        seen |= following
        open_nodes.extend(following)


def _refusal() -> NotMeasurableError:
    return NotMeasurableError(
        "The network recomputes activations in the backward pass (torch.utils.checkpoint), with other weights than "
        "the pass was given.",
        "Switch gradient checkpointing off: it saves memory and changes nothing that the network computes.",
    )
