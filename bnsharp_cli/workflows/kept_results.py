"""A folder of results: one document for each network, data and options, which is measured once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bnsharp_cli import __version__
from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.files.atomic_writing import make_folder, require_writable_folder, write_text_atomically
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.files.regular_files import open_regular
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.report.json_document import render
from bnsharp_cli.report.stored_results import StoredResult, read_results
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.input_files import input_files
from bnsharp_cli.workflows.open_inputs import OpenedInputs
from bnsharp_cli.workflows.reporter import Reporter

_ARGUMENT = "results"
_IN_A_NAME = 16
"""Digits of the key in the name of a file; all of it is in the document."""


def result_key(
    inputs: OpenedInputs, measures: Sequence[str], runs: Sequence[MeasureOptions], device: torch.device
) -> str:
    """A digest of everything that decides a result: the same key, the same numbers.

    The weights count with the bytes of their file, the data as the network sees them, code of the user's by the file
    that is named, though not by what it imports.

    Args:
        inputs: the network and the batches.
        measures: as they were asked for.
        runs: the options of each measurement.
        device: where it is computed.
    """
    opened, options, data = inputs.opened, inputs.data_options, inputs.data
    specs = (opened.identity.spec, data.spec, data.criterion.name, *([inputs.test.spec] if inputs.test else []))
    identity = {
        "versions": {"bnsharp": __version__, "torch": torch.__version__},
        "device": device.type,
        "weights": [opened.checkpoint.sha256, opened.checkpoint.key],
        "architecture": [opened.identity.spec, repr(sorted(opened.identity.options.items()))],
        "code": {spec: _digest_of(spec) for spec in specs},
        "data": [data.spec, options.split, data.batches.sha256, data.batches.samples, data.batches.batch_size],
        "available": data.batches.sizes.available,
        "test": None if inputs.test is None else inputs.test.to_dict(options.seed),
        "loss": [data.criterion.name, options.output_key, options.bn],
        "seed": options.seed,
        "preprocessing": data.preprocessing.to_dict(),
        "measures": list(measures),
        "options": [run.to_dict() for run in runs],
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def _digest_of(spec: str) -> str:
    """The digest of the user's file that a network, data or a loss come from; empty where a library has them."""
    files = [path for path in input_files([], spec) if path.suffix == ".py"]
    if not files:
        return ""
    with open_regular(files[0]) as file:
        return file.sha256()


class ResultsFolder:
    """The results that are kept in one folder.

    Args:
        folder: is made when the first result is written.

    Raises:
        UsageError: it cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        if torchrun.is_first():
            require_writable_folder(folder, _ARGUMENT)
        self._folder = folder

    def known(self, checkpoint: Path, key: str, reporter: Reporter) -> StoredResult | None:
        """The result of that key, on which all processes agree; None where it is still to be measured.

        A file that does not hold it is told, and written over.
        """
        path, found = self._path(checkpoint, key), None
        try:
            if path.exists():
                found = next((one for one in read_results(path) if one.document["key"] == key), None)
                if found is None:
                    reporter.notice(f"{shown_path(path)} holds another result, and is measured anew")
        except (CheckpointRefusedError, OSError, ValueError) as error:
            reporter.notice(f"{shown_path(path)} cannot be used and is measured anew: {error}")
        processes = torchrun.current()
        hits = processes.in_order(torch.tensor([float(found is not None)]), processes.count)
        return found if bool(hits.all()) else None

    def keep(self, checkpoint: Path, document: Mapping[str, Any]) -> Path:
        """Write a document, whole or not at all.

        Raises:
            UsageError: the folder cannot be made or written to.
        """
        path = self._path(checkpoint, document["key"])
        if torchrun.is_first():
            make_folder(self._folder, _ARGUMENT)
            write_text_atomically(path, render(document), _ARGUMENT)
        return path

    def _path(self, checkpoint: Path, key: str) -> Path:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", checkpoint.name).strip("-.")[:40] or "result"
        return self._folder / f"{stem}-{key[:_IN_A_NAME]}.json"
