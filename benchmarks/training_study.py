"""What the regulariser of Algorithm 1 does, in each of its readings, beside its competitors and controls.

    python -m benchmarks.training_study run --cifar folder:DIR --output RUNS [--seeds 3]
    python -m benchmarks.training_study measure --cifar folder:DIR --output RUNS
    python -m benchmarks.training_study table --output RUNS

LeNet-BN on 2,400 CIFAR-10 images, batches of 400, 16 epochs: a schedule for a CPU, with the paper's learning rates,
weight decay and regulariser (figure 1). Resumable run by run. ``measure`` adds BN-Sharpness of the final networks on
the whole training set at several δ.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import torch

from bnsharp_cli import api
from bnsharp_cli.cli.cells import Experiment, Place, fixed_batches
from bnsharp_cli.cli.progress import Display
from bnsharp_cli.io.atomic import append_at
from bnsharp_cli.io.checkpoint import load_checkpoint
from bnsharp_cli.report.json import render_line
from bnsharp_cli.report.reproduction import Row, print_reproduction
from bnsharp_cli.report.terminal import console
from bnsharp_cli.training.catalogue import RuleOptions
from bnsharp_cli.training.entropy_sgd import Langevin
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.recipes import Cell, Spread
from bnsharp_cli.training.sgds import Sharpness

SAMPLES, BATCH, EPOCHS = 2400, 400, 16
DELTAS = (1e-3, 1e-2, 1e-1)


def _options(rule: str, options: RuleOptions, epochs: int = EPOCHS, batch: int = BATCH) -> TrainingOptions:
    return TrainingOptions(
        rule=rule,
        epochs=epochs,
        batch_size=batch,
        learning_rate=0.2,
        weight_decay=5e-4,
        milestones=tuple(round(epochs * share) for share in (0.3, 0.6, 0.8)),
        rule_options=options,
    )


def cells() -> list[Cell]:
    """The rules at equal epochs, cheap ones first, and the controls."""
    plain = RuleOptions()
    found = {
        "sgd": _options("sgd", plain),
        "sgd, batch / 10": _options("sgd", plain, batch=BATCH // 10),
        "sgd, batch x 3": _options("sgd", plain, batch=3 * BATCH),
        "sgd, batch x 3, as many steps": _options("sgd", plain, epochs=3 * EPOCHS, batch=3 * BATCH),
        "sgd, epochs x 3": _options("sgd", plain, epochs=3 * EPOCHS),
        "sam": _options("sam", plain),
        "asam": _options("asam", plain),
        "entropy-sgd": _options("entropy-sgd", RuleOptions(langevin=Langevin(steps=5))),
    }
    for steps in (0, 5):
        for form in ("corrected", "printed"):
            for batches in ("same", "independent"):
                sharpness = Sharpness(search_steps=steps, form=form, batches=batches)
                found[f"sgds-{steps} {form} {batches}"] = _options("sgds", RuleOptions(sharpness))
    return [Cell("study", name, "cifar10", "lenet-bn", options, math.nan) for name, options in found.items()]


def experiment(folder: Path, data: str, seeds: int) -> Experiment:
    """All runs."""
    folder.mkdir(parents=True, exist_ok=True)
    place = Place(folder, {"cifar10": data}, None, False, torch.device("cpu"), SAMPLES, SAMPLES)
    return Experiment(cells(), seeds, place)


def run(study: Experiment) -> None:
    """Train what is left."""
    left = study.left()

    def started(number: int, epochs: int) -> Display:
        print(f"{number + 1}/{len(left)} {left[number][0].name} seed {left[number][1]}", flush=True)
        return Display(True, epochs)

    for result in study.execute(started):
        print(f"   test {100 * result['test_accuracy']:.2f} %", flush=True)


def measure(study: Experiment, path: Path) -> None:
    """BN-Sharpness on the whole training set, and what the number of samples does to it."""
    known = {(r["name"], r["seed"], r["delta"]) for r in _read(path)}
    for cell, seed in study.runs:
        if (cell.name, cell.data, seed) not in study.done:
            continue
        trainee = study.trainee(cell)
        trainee.module.load_state_dict(load_checkpoint(study.path(cell, seed)).state_dict)
        batches = fixed_batches(trainee.train, SAMPLES)
        for delta in DELTAS:
            if (cell.name, seed, delta) in known:
                continue
            found = api.measure(trainee.module, batches, delta=delta).to_dict()
            record = {"name": cell.name, "seed": seed, "delta": delta}
            record |= {key: found[key] for key in ("value", "status", "uncertainty")}
            append_at(path, path.stat().st_size if path.exists() else 0, render_line(record))
            print(record, flush=True)


def _read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(study: Experiment, measured: Path) -> None:
    """Everything that is done, means ± standard errors over seeds."""
    rows = []
    for cell in study.cells:
        results = [r for key, r in study.done.items() if key[0] == cell.name]
        rows.append(Row(replace(cell), results))
    print_reproduction(console(), rows, [])
    records = _read(measured)
    print("BN-Sharpness on the whole training set, by δ")
    for cell in study.cells:
        values = []
        for delta in DELTAS:
            found = [r for r in records if r["name"] == cell.name and r["delta"] == delta]
            spread = Spread.of([float(str(r["value"])) for r in found]) if found else None
            weak = "*" if any(r["status"] in {"iteration-limit", "below-resolution"} for r in found) else ""
            values.append(f"{spread.mean:.4g} ± {spread.error or 0:.2g}{weak}" if spread else "-")
        print(f"{cell.name:32} " + "  ".join(f"{value:>18}" for value in values))


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
