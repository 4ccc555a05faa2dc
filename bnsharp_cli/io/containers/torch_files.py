"""Files of today's ``torch.save``: a zip archive of one pickle, and a member for each storage that it speaks of."""

from __future__ import annotations

from bnsharp_cli.io.containers.content_writer import Found
from bnsharp_cli.io.containers.pickle_reader import Budget, read_pickle
from bnsharp_cli.io.containers.tensor_plans import TORCH_PROTOCOLS, TensorPlans
from bnsharp_cli.io.containers.unsound_content import damaged
from bnsharp_cli.io.containers.zip_files import data_pickle, sound_members
from bnsharp_cli.io.files.regular_files import RegularFile

_BYTE_ORDERS = {b"": "little", b"little": "little", b"big": "big"}


def read_torch_zip(file: RegularFile) -> Found:
    """The content of a zip file that is as ``torch.save`` writes it.

    Raises:
        CheckpointRefusedError: it is another zip file, or a damaged one.
        PickleRefusedError: its pickle is damaged, or does what no saved weights do.
        UnsoundContentError: the pickle and the members do not fit together.
    """
    members = sound_members(file)
    order = file.read(*members.places.get("byteorder", (0, 0)))
    if order not in _BYTE_ORDERS:
        raise damaged("its byte order is neither little nor big")
    budget = Budget()
    plans = TensorPlans(members.storage, budget)
    content = read_pickle(data_pickle(file, members), plans.stand_ins(), budget, plans.storage, TORCH_PROTOCOLS)
    return Found(content, order=_BYTE_ORDERS[order], checksums=members.unread)
