"""What the regulariser of Algorithm 1 does, in each of its readings, beside its competitors and controls.

    python -m benchmarks.training_study run --cifar folder:DIR --output RUNS [--seeds 3]
    python -m benchmarks.training_study measure --cifar folder:DIR --output RUNS
    python -m benchmarks.training_study table --output RUNS      # the table of docs/RESULTS.md

LeNet-BN on 2,400 CIFAR-10 images, batches of 400, 16 epochs: a schedule for a CPU, with the paper's learning rates,
weight decay and regulariser (figure 1). Resumable run by run. ``measure`` adds BN-Sharpness of the final networks on
the whole training set at several δ.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch

from bnsharp_cli import api
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.files.atomic_writing import append_at
from bnsharp_cli.report.json_document import render_line
from bnsharp_cli.report.reproduction import MeanAndError
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.paper_experiments import PublishedResult
from bnsharp_cli.training.registry import EntropySgdOptions, RuleOptions, SgdsOptions
from bnsharp_cli.workflows.experiment import Experiment, ExperimentConditions, measured_batches
from bnsharp_cli.workflows.reporter import Reporter

SAMPLES, BATCH, EPOCHS = 2400, 400, 16
DELTAS = (1e-3, 1e-2, 1e-1)


def _options(
    rule: str, options: RuleOptions | None = None, epochs: int = EPOCHS, batch: int = BATCH
) -> TrainingOptions:
    return TrainingOptions(
        rule=rule,
        epochs=epochs,
        batch_size=batch,
        learning_rate=0.2,
        weight_decay=5e-4,
        milestones=tuple(round(epochs * share) for share in (0.3, 0.6, 0.8)),
        rule_options=options,
    )


def cells() -> list[PublishedResult]:
    """The rules at equal epochs, cheap ones first, and the controls."""
    found = {
        "sgd": _options("sgd"),
        "sgd, batch / 10": _options("sgd", batch=BATCH // 10),
        "sgd, batch x 3": _options("sgd", batch=3 * BATCH),
        "sgd, batch x 3, as many steps": _options("sgd", epochs=3 * EPOCHS, batch=3 * BATCH),
        "sgd, epochs x 3": _options("sgd", epochs=3 * EPOCHS),
        "sam": _options("sam"),
        "asam": _options("asam"),
        "entropy-sgd": _options("entropy-sgd", EntropySgdOptions(langevin_steps=5)),
    }
    for steps in (0, 5):
        for form in ("corrected", "printed"):
            for batches in ("same", "independent"):
                options = SgdsOptions(search_steps=steps, regulariser_gradient=form, regulariser_batches=batches)
                found[f"sgds-{steps} {form} {batches}"] = _options("sgds", options)
    return [PublishedResult("study", name, "cifar10", "lenet-bn", options, math.nan) for name, options in found.items()]


class PrintedRule(Reporter):
    """Prints what runs say of themselves."""

    def notice(self, text: str) -> None:
        """A line."""
        print(text, flush=True)


def experiment(folder: Path, data: str, seeds: int) -> Experiment:
    """All runs."""
    folder.mkdir(parents=True, exist_ok=True)
    conditions = ExperimentConditions(folder, {"cifar10": data}, None, False, torch.device("cpu"), SAMPLES, SAMPLES)
    return Experiment(cells(), seeds, conditions, PrintedRule())


def run(study: Experiment) -> None:
    """Train what is left."""
    for result in study.execute():
        print(f"   test {100 * result['test_accuracy']:.2f} %", flush=True)


def measure(study: Experiment, path: Path) -> None:
    """BN-Sharpness on the whole training set, and what the number of samples does to it."""
    known = {(r["name"], r["seed"], r["delta"]) for r in _read(path)}
    for cell, seed in study.runs:
        if (cell.name, cell.data, seed) not in study.done:
            continue
        setup = study.setup(cell)
        setup.module.load_state_dict(load_checkpoint(study.path(cell, seed)).state_dict)
        batches = measured_batches(setup.train, SAMPLES)
        for delta in DELTAS:
            if (cell.name, seed, delta) in known:
                continue
            found = api.measure(setup.module, batches, delta=delta).to_dict()
            record = {"name": cell.name, "seed": seed, "delta": delta}
            record |= {key: found[key] for key in ("value", "status", "uncertainty")}
            append_at(path, path.stat().st_size if path.exists() else 0, render_line(record))
            print(record, flush=True)


def _read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(study: Experiment, measured: Path) -> None:
    """Everything that is done in Markdown, means ± standard errors over seeds."""
    records = _read(measured)
    print("| rule | runs | test % | train % | training loss | gradients | δ-L∞ · 10⁴ | " + " | ".join(_HEADINGS) + " |")
    print("| --- |" + " ---: |" * (6 + len(DELTAS)))
    for cell in study.cells:
        results = [result for key, result in study.done.items() if key[0] == cell.name]
        if not results:
            continue
        found = [[r for r in records if (r["name"], r["delta"]) == (cell.name, delta)] for delta in DELTAS]
        entries = [
            cell.name,
            str(len(results)),
            _spread([100 * r["test_accuracy"] for r in results], 1),
            _spread([100 * r["train_accuracy"] for r in results], 1),
            _spread([r["train_loss"] for r in results], 3),
            f"{results[0]['gradients'] * results[0]['batch_size']:,}",
            _spread([1e4 * r["measures"]["delta-linf"]["value"] for r in results], 2),
            *(_spread([float(str(r["value"])) for r in each], 2) + _mark(each) for each in found),
        ]
        print("| " + " | ".join(entries) + " |")


_HEADINGS = [f"BN, δ = {delta:g}" for delta in DELTAS]


def _spread(values: list[float], digits: int) -> str:
    if not values:
        return "-"
    spread = MeanAndError.of(values)
    return f"{spread.mean:.{digits}f}" + ("" if spread.error is None else f" ± {spread.error:.{digits}f}")


def _mark(records: list[dict[str, object]]) -> str:
    return "\\*" if any(record["status"] == "iteration-limit" for record in records) else ""


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("run", "measure", "table"))
    parser.add_argument("--cifar", default="cifar10")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    study = experiment(options.output, options.cifar, options.seeds)
    measured = options.output / "measured.jsonl"
    if options.action == "run":
        run(study)
    elif options.action == "measure":
        measure(study, measured)
    else:
        table(study, measured)


if __name__ == "__main__":
    main()
