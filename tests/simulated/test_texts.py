"""Networks of texts on the simulated device: the CPU's bits, and no waits but those that the networks make."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.io.networks.known_networks import LANGUAGE_MODEL, TEXT_CLASSIFIER, Head
from bnsharp_cli.measurement.surface.opened_surface import SurfaceSettings, opened_surface
from bnsharp_cli.measurement.surface.stacking import PointsAtOnce
from bnsharp_cli.measurement.surface.token_loss import IGNORED, token_cross_entropy
from tests.cli.helpers import bnsharp
from tests.io.checkpoints.huggingface_texts import PAD, name_of, text_network, token_batches
from tests.io.data.texts import CLASSES, sentences, write_lines, write_network
from tests.simulated.backend import NAME
from tests.simulated.device import PLENTY, Simulation, ending_midway
from tests.simulated.test_commands import plain
from tests.simulated.test_surface import EVALUATIONS, points

SMALL: dict[str, dict[str, Any]] = {
    "gpt2": {"n_layer": 1, "n_embd": 8, "n_head": 2},
    "llama": {"num_hidden_layers": 1},
    "bert": {"num_hidden_layers": 1},
}
KINDS = [(LANGUAGE_MODEL, "gpt2"), (LANGUAGE_MODEL, "llama"), (TEXT_CLASSIFIER, "bert")]
PADDED = 2
"""Places at the end of a batch's first text that are padding."""


def mapped(head: Head) -> list[dict[str, Tensor]]:
    """Batches as transformers has them, the first text of each shorter than the others."""
    made = []
    for ids, labels in token_batches(head, samples=4):
        mask = torch.ones_like(ids)
        mask[0, -PADDED:] = 0
        kept = torch.where(mask.bool(), labels, IGNORED) if head is LANGUAGE_MODEL else labels
        made.append({"input_ids": torch.where(mask.bool(), ids, PAD), "attention_mask": mask, "labels": kept})
    return made


def loss_of(head: Head) -> Callable[..., Tensor]:
    return token_cross_entropy if head is LANGUAGE_MODEL else functional.cross_entropy


@pytest.mark.parametrize(
    ("head", "kind", "name"), [*((*pair, "bn") for pair in KINDS), (LANGUAGE_MODEL, "gpt2", "entropy")], ids=name_of
)
def test_ids_and_masks_have_the_bits_of_the_cpu(simulation: Simulation, head: Head, kind: str, name: str) -> None:
    module = text_network(head, kind, **SMALL[kind])
    expected, found = (
        bnsharp_cli.measure(module, mapped(head), loss_of(head), name=name, device=device, precision="float32")
        for device in ("cpu", NAME)
    )
    assert (found.value, found.status, found.cost) == (expected.value, expected.status, expected.cost)
    assert found.uncertainty == expected.uncertainty
    assert any("embedding" in operation for operation in simulation.operations)
    assert next(module.parameters()).device.type == "cpu"


def waits_of_its_own(simulation: Simulation, module: nn.Module, batches: list[dict[str, Tensor]]) -> int:
    """How often the network itself waits in a pass over the batches, as where it asks whether a mask hides anything."""
    simulation.waits.clear()
    placed = module.to(NAME)
    for batch in batches:
        inputs = {key: tensor.to(NAME) for key, tensor in batch.items() if key != "labels"}
        with torch.no_grad():
            placed(**inputs)
    return simulation.waits.total()


@pytest.mark.parametrize(("head", "kind"), KINDS, ids=name_of)
def test_an_evaluation_waits_once_beside_the_network(simulation: Simulation, head: Head, kind: str) -> None:
    module, waits = text_network(head, kind, **SMALL[kind]), {}
    settings = SurfaceSettings("running", None, NAME, "float32", "auto", ("all",))
    with opened_surface(module, mapped(head), loss_of(head), settings) as surface:
        point = surface.point()
        surface.value(point)
        for name, evaluate in EVALUATIONS.items():
            simulation.waits.clear()
            evaluate(surface, point)
            waits[name] = simulation.waits.total()
    assert waits == dict.fromkeys(EVALUATIONS, 1 + waits_of_its_own(simulation, module, mapped(head)))


@pytest.mark.parametrize(("head", "kind"), KINDS, ids=name_of)
def test_several_points_at_once_wait_once_and_meet_the_end_of_memory_once(
    simulation: Simulation, head: Head, kind: str
) -> None:
    module = text_network(head, kind, **SMALL[kind])
    settings = SurfaceSettings("running", None, NAME, "float32", "auto", ("all",))
    with opened_surface(module, mapped(head), loss_of(head), settings) as opened:
        surface = replace(opened, points_at_once=PointsAtOnce(16))
        together = points(surface, 16)
        expected = [surface.value(point) for point in together]
        with ending_midway(simulation):
            simulation.waits.clear()
            assert surface.values(together) == pytest.approx(expected, rel=1e-6)  # other kernels in float32
            counted = simulation.waits.total()
        for _ in range(2):
            assert surface.values(together) == pytest.approx(expected, rel=1e-6)
            (fitting,) = surface.pool.fitting.sizes.values()
            assert 1 <= fitting < 16
    simulation.memory = PLENTY
    assert counted == 1 + waits_of_its_own(simulation, module, mapped(head))


COMMANDS = {
    "language model": ("measure", "lm", "--data", "text:lines.jsonl", "--context", 7),
    "classifier": ("measure", "classifier", "--data", "text:labelled.jsonl"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model and a classifier with their tokenizers, and files of text."""
    folder = tmp_path_factory.mktemp("texts")
    write_network(folder / "lm")
    write_network(folder / "classifier", classifies=True)
    write_lines(folder / "lines.jsonl", [{"text": text} for text in sentences(12, 2)])
    labelled = [{"text": text, "label": CLASSES[number % 3]} for number, text in enumerate(sentences(12, 3))]
    write_lines(folder / "labelled.jsonl", labelled)
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_documents_are_those_of_the_cpu(folder: Path, simulation: Simulation, name: str) -> None:
    shared = ("--samples", "all", "--batch-size", 6, "--precision", "float32", "--quiet", "--json")
    expected, found = (
        json.loads(
            bnsharp(*COMMANDS[name], *shared, "--measure", "gradient-norm", "--device", device, folder=folder).stdout
        )
        for device in ("cpu", NAME)
    )
    assert plain(found) == plain(expected)
