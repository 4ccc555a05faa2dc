"""Training on a GPU: bfloat16 beside float32, and as much of the paper's figure 1 as the minutes allow."""

from __future__ import annotations

import time

from benchmarks.device_timing import Bench
from bnsharp_cli.training.evaluation import evaluate
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.paper_experiments import ExperimentBudget, cells
from bnsharp_cli.workflows.experiment import Experiment, ExperimentConditions
from bnsharp_cli.workflows.training_options import TrainingTask
from bnsharp_cli.workflows.training_setup import open_setup, with_seed

FIGURE_BATCH = 2000
"""A fifth of the 10,000 images: as many steps in an epoch as in the paper."""

MEASURED = 2048


def mixed_precision(bench: Bench) -> None:
    """Seconds of an epoch and test accuracy; the first epoch warms up and is not among the seconds."""
    data, epochs = bench.cifar or "digits", bench.scale.epochs
    bench.write(f"{data.partition(':')[0]}, {epochs} epochs, batches of 128.\n")
    bench.write("| network | precision | seconds an epoch | last training loss | test accuracy, % |")
    bench.write("| --- " * 5 + "|")
    for arch in ("lenet-bn",) if data == "digits" else ("vgg11-bn", "lenet-bn"):
        opened = open_setup(TrainingTask(arch, data=data), 0, bench.device, 1)
        for amp in (None, "bf16"):
            setup = with_seed(opened, 0)
            options = TrainingOptions(
                epochs=epochs, batch_size=128, learning_rate=0.05, amp=amp, schedule="cosine", seed=0
            )
            training = setup.training(options, bench.device)
            seconds, loss = [], 0.0
            for _ in range(epochs):
                bench.synchronise()
                began = time.perf_counter()
                loss = training.run_epoch()
                bench.synchronise()
                seconds.append(time.perf_counter() - began)
            timed = seconds[1:] or seconds
            found = evaluate(setup.module, setup.test, setup.judge(bench.device), device=bench.device)
            row = f"{sum(timed) / len(timed):.3f} | {loss:.4f} | {100 * (found.accuracy or 0):.2f}"
            bench.write(f"| {arch} | {amp or 'float32'} | {row} |")


def figure_1(bench: Bench) -> None:
    """The paper's three cells on the images there are, a fifth of them in a batch; goes on with what is done."""
    data, epochs = bench.cifar or "digits", bench.scale.figure_epochs
    budget = ExperimentBudget(epochs=epochs, batch=FIGURE_BATCH, data=None if bench.cifar else "digits")
    chosen = [budget.scaled(cell) for cell in cells("figure-1", "full")]
    folder = bench.folder / f"figure-1-{epochs}"
    folder.mkdir(parents=True, exist_ok=True)
    conditions = ExperimentConditions(folder, {"cifar10": data}, None, False, bench.device, None, MEASURED)
    experiment = Experiment(chosen, 1, conditions)
    bench.write(
        f"{data.partition(':')[0]}, {epochs} epochs, batches of at most {FIGURE_BATCH}; the paper's: 200, 10,000.\n"
    )
    bench.write("| rule | test accuracy, % | the paper's | training loss | BN-Sharpness |\n" + "| --- " * 5 + "|")
    told: set[str] = set()

    def tell() -> None:
        for result in experiment.done.values():
            if result["name"] not in told:
                told.add(result["name"])
                measured = result["measures"].get("bn", {}).get("value")
                figures = f"{100 * result['test_accuracy']:.2f} | {result['published']} | {result['train_loss']:.4f}"
                bench.write(f"| {result['name']} | {figures} | {measured} |")

    tell()
    for _ in experiment.execute():
        tell()
