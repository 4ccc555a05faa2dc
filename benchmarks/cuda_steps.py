"""The steps of ``benchmarks.cuda``, most important first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A part of what is asked of a GPU.

    Attributes:
        title: its heading on the page.
        load: ``module:function`` in this package; the function takes a ``Bench``.
        seconds: the longest that it may take.
        arguments: further arguments of the function.
        exact: whether TF32 and what else torch may have been told is kept out, as it is out of a measurement.
    """

    title: str
    load: str
    seconds: float
    arguments: tuple[object, ...] = ()
    exact: bool = True


STEPS: dict[str, Step] = {
    "tests": Step("The tests marked gpu", "device_checks:tests", 150, exact=False),
    "agreement": Step("Agreement with the CPU", "device_checks:agreement", 40),
    "tf32": Step("Float32 where the program around allows TF32", "device_checks:tf32", 40),
    "profile": Step("Where the time of a small network's pass goes", "device_profile:profile", 40),
    "lenet-passes": Step("Passes of LeNet-BN beside a plain loop", "device_speed:passes", 40, ("lenet-bn",)),
    "lenet-points": Step("Several points of LeNet-BN at once", "device_speed:points", 40, ("lenet-bn",)),
    "lenet-whole": Step("A whole measurement of LeNet-BN", "device_speed:whole", 30, ("lenet-bn",)),
    "resnet50-passes": Step("Passes of resnet50 beside a plain loop", "device_speed:passes", 40, ("resnet50",)),
    "resnet50-whole": Step("A whole measurement of resnet50", "device_speed:whole", 50, ("resnet50",)),
    "lenet-peers": Step("Peers on LeNet-BN", "device_speed:worst_case_peers", 40, ("lenet-bn",)),
    "resnet18-peers": Step("Peers on resnet18", "device_speed:worst_case_peers", 50, ("resnet18",)),
    "lenet-eigenvalues": Step("λ_max of LeNet-BN", "device_speed:eigenvalue_peers", 40, ("lenet-bn",)),
    "resnet18-curvlinops": Step("λ_max of resnet18", "device_speed:one_peer", 60, ("resnet18", "λ_max, curvlinops")),
    "resnet18-pyhessian": Step("λ_max of resnet18", "device_speed:one_peer", 60, ("resnet18", "λ_max, PyHessian")),
    "mixed-precision": Step("Training in bfloat16", "device_training:mixed_precision", 70, exact=False),
    "crossover": Step("One batch at eight points, and all at once", "device_speed:crossover", 70),
    "figure-1": Step("Figure 1 of the paper", "device_training:figure_1", 150, exact=False),
}
