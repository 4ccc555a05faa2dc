"""What is wrong with the content of a file, said by those who do not know which file it is."""

from __future__ import annotations

from bnsharp_cli.io.containers.pickle_reader import Fault, PickleRefusedError

_OF_CHECKPOINTS = {
    Fault.OPCODE: "uses the opcode {found}, which torch.save never writes",
    Fault.PROTOCOL: "is a pickle of protocol {found}, which torch cannot read as weights alone",
    Fault.BUDGET: "needs more steps than the pickle of any weights",
    Fault.PERSISTENT_ID: "refers to a storage where none can be",
}
"""What the pickle reader cannot know: that its pickles are checkpoints."""


class UnsoundContentError(Exception):
    """Content that no checkpoint of weights has. Whoever opened the file makes a refusal of it that names the file.

    Args:
        finding: what was found, as the predicate of "FILE …": ``holds a sparse tensor``.
        damaged: whether the file must have been another one when it was written, so that a new copy may help.
    """

    def __init__(self, finding: str, *, damaged: bool = False) -> None:
        super().__init__(f"the file {finding}")
        self.finding, self.damaged = finding, damaged


def unsound(error: UnsoundContentError | PickleRefusedError) -> UnsoundContentError:
    """A refusal of the pickle reader in the words of checkpoints; one that is in them already as it is."""
    if isinstance(error, UnsoundContentError):
        return error
    words = _OF_CHECKPOINTS.get(error.fault)
    finding = error.finding if words is None else words.format(found=error.found)
    return UnsoundContentError(finding, damaged=error.fault is Fault.DAMAGED)


def damaged(what: str) -> UnsoundContentError:
    """The error of content that must have been written otherwise: ``is damaged (…)``."""
    return UnsoundContentError(f"is damaged ({what})", damaged=True)
