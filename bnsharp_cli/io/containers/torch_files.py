"""Files of today's ``torch.save``: a zip archive of one pickle, and a member for each storage that it speaks of."""

from __future__ import annotations

import io
import zlib

from bnsharp_cli.io.containers.content_writer import Found
from bnsharp_cli.io.containers.dangerous_names import may_be_mentioned
from bnsharp_cli.io.containers.pickle_reader import Budget, read_pickle
from bnsharp_cli.io.containers.tensor_plans import TORCH_PROTOCOLS, TensorPlans
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError, damaged
from bnsharp_cli.io.containers.zip_files import ZipMembers, sound_members
from bnsharp_cli.io.files.regular_files import RegularFile

_LONGEST_VERSION = 8
_VERSIONS = range(1, 11)
"""Versions of the format that torch reads; what a later one means is not known."""

_BYTE_ORDERS = {b"": "little", b"little": "little", b"big": "big"}


def read_torch_zip(file: RegularFile) -> Found:
    """The content of a zip file that is as ``torch.save`` writes it.

    Raises:
        CheckpointRefusedError: it is another zip file, or a damaged one.
        PickleRefusedError: its pickle is damaged, or does what no saved weights do.
        UnsoundContentError: the pickle and the members do not fit together.
    """
    members = sound_members(file)
    order, checksum_of_order = _record(file, members, "byteorder")
    if order not in _BYTE_ORDERS:
        raise damaged("its byte order is neither little nor big")
    checksums_of_versions = [_checked_version(file, members, name) for name in ("version", ".data/version")]
    budget = Budget()
    plans = TensorPlans(members.storage, budget)
    pickled, checksum_of_pickle = _record(file, members, "data.pkl")
    content = read_pickle(
        io.BytesIO(pickled), plans.stand_ins(), budget, plans.referred, TORCH_PROTOCOLS, may_be_mentioned
    )
    checksums = [*members.checksums, *checksums_of_versions, checksum_of_order, checksum_of_pickle]
    return Found(content, order=_BYTE_ORDERS[order], checksums=checksums)


def _checked_version(file: RegularFile, members: ZipMembers, name: str) -> tuple[int, int, int, str]:
    """The checksum of a member that states the version of the format, which every file of torch's has."""
    stated, checksum = _record(file, members, name)
    known = len(stated) < _LONGEST_VERSION and stated.strip().isdigit() and int(stated) in _VERSIONS
    if name in members.places and not known:
        raise UnsoundContentError("is of a version of torch's format that is not known here")
    return checksum


def _record(file: RegularFile, members: ZipMembers, name: str) -> tuple[bytes, tuple[int, int, int, str]]:
    """The bytes of a member, or none where it is missing, and the checksum by which they are found unchanged later."""
    begin, size = members.places.get(name, (0, 0))
    record = file.read(begin, size)
    return record, (begin, size, zlib.crc32(record), name)
