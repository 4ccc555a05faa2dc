"""Networks that throw activations away and compute them again for the backward pass: recognised and refused.

``torch.utils.checkpoint`` runs parts of the forward pass again while gradients are taken. By then the weights that were
handed in for the pass are gone, so it would differentiate another network, or silently leave weights out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.autograd.graph import Node, disable_saved_tensors_hooks

from bnsharp_cli.errors import NotMeasurableError

_REENTRANT = "CheckpointFunctionBackward"
_SWITCHED_OFF = "hooks for saved tensors are switched off"


def outputs_with_whole_graph(run: Callable[[], list[Tensor]]) -> list[Tensor]:
    """What ``run`` returns, with every activation kept for the backward pass.

    There are two kinds of checkpointing. One puts hooks on what it saves: such a network runs, but not while hooks are
    switched off. The other leaves a hole in the graph, which a node of its own fills.

    Args:
        run: a forward pass, from which gradients are wanted.

    Raises:
        NotMeasurableError: the network recomputes activations, or does not run at all.
    """
    try:
        with disable_saved_tensors_hooks(_SWITCHED_OFF):
            outputs = run()
    except NotMeasurableError as error:
        if _runs(run):
            raise _refusal() from error
        raise
    if _has_hole(outputs):
        raise _refusal()
    return outputs


def _runs(run: Callable[[], object]) -> bool:
    try:
        run()
    except NotMeasurableError:
        return False
    return True


def _has_hole(outputs: Sequence[Tensor]) -> bool:
    """Whether the outputs' graph has a node that recomputes activations."""
    open_nodes = [output.grad_fn for output in outputs if output.grad_fn is not None]
    seen: set[Node] = set(open_nodes)
    while open_nodes:
        node = open_nodes.pop()
        if node.name() == _REENTRANT:
            return True
        following = {child for child, _ in node.next_functions if child is not None} - seen
        seen |= following
        open_nodes.extend(following)
    return False


def _refusal() -> NotMeasurableError:
    return NotMeasurableError(
        "The network recomputes activations in the backward pass (torch.utils.checkpoint), with other weights than "
        "the pass was given.",
        "Switch gradient checkpointing off: it saves memory and changes nothing that the network computes.",
        expected="a network that keeps its activations for the backward pass",
        found="gradient checkpointing",
    )
