"""bnsharp: how sharp the minimum is that a trained network sits in.

    import bnsharp_cli

    result = bnsharp_cli.measure(model, batches, delta=1e-3)

Everything that a program needs is here. Each name is imported when it is first used, since torch costs seconds.

Nothing at all is imported before, ``__future__`` neither: ``python -m bnsharp_cli`` runs this file while modules in the
working directory, which may be a stranger's, come before those of the standard library.
"""

TYPE_CHECKING = False  # type checkers take a name like this for True, as they take that of typing
if TYPE_CHECKING:
    from bnsharp_cli.api import find_blocks, measure, rescale_test
    from bnsharp_cli.api_generalization import generalization_gap
    from bnsharp_cli.api_invariance import invariance_table
    from bnsharp_cli.errors import (
        BnsharpError,
        CheckpointRefusedError,
        DataRefusedError,
        InternalError,
        NotMeasurableError,
        UnfitMeasureError,
        UsageError,
    )
    from bnsharp_cli.integrations.monitor import SharpnessMonitor
    from bnsharp_cli.measurement.blocks.blocks import Blocks
    from bnsharp_cli.measurement.invariance.invariance_report import CopyReport, InvarianceReport
    from bnsharp_cli.measurement.invariance.invariance_row import InvarianceRow
    from bnsharp_cli.measurement.invariance.invariance_table import InvarianceTable
    from bnsharp_cli.measurement.measures.generalization import Generalization
    from bnsharp_cli.measurement.measures.measurement import Measurement, Search, Status, Uncertainty
    from bnsharp_cli.measurement.measures.measurements import Measurements
    from bnsharp_cli.measurement.measures.options import MeasureOptions
    from bnsharp_cli.measurement.surface.cost import Cost
    from bnsharp_cli.measurement.surface.token_loss import token_cross_entropy
    from bnsharp_cli.training.entropy_sgd import EntropySgd
    from bnsharp_cli.training.registry import EntropySgdOptions, SamOptions, SgdsOptions
    from bnsharp_cli.training.sam import Asam, Sam
    from bnsharp_cli.training.sgds import Sgds

__version__ = "0.1.0"
__all__ = [
    "Asam",
    "Blocks",
    "BnsharpError",
    "CheckpointRefusedError",
    "CopyReport",
    "Cost",
    "DataRefusedError",
    "EntropySgd",
    "EntropySgdOptions",
    "Generalization",
    "InternalError",
    "InvarianceReport",
    "InvarianceRow",
    "InvarianceTable",
    "MeasureOptions",
    "Measurement",
    "Measurements",
    "NotMeasurableError",
    "Sam",
    "SamOptions",
    "Search",
    "Sgds",
    "SgdsOptions",
    "SharpnessMonitor",
    "Status",
    "Uncertainty",
    "UnfitMeasureError",
    "UsageError",
    "__version__",
    "find_blocks",
    "generalization_gap",
    "invariance_table",
    "measure",
    "rescale_test",
    "token_cross_entropy",
]

_MODULES = {
    "api": ("find_blocks", "measure", "rescale_test"),
    "api_generalization": ("generalization_gap",),
    "api_invariance": ("invariance_table",),
    "errors": (
        "BnsharpError",
        "CheckpointRefusedError",
        "DataRefusedError",
        "InternalError",
        "NotMeasurableError",
        "UnfitMeasureError",
        "UsageError",
    ),
    "integrations.monitor": ("SharpnessMonitor",),
    "measurement.blocks.blocks": ("Blocks",),
    "measurement.invariance.invariance_report": ("CopyReport", "InvarianceReport"),
    "measurement.invariance.invariance_row": ("InvarianceRow",),
    "measurement.invariance.invariance_table": ("InvarianceTable",),
    "measurement.measures.generalization": ("Generalization",),
    "measurement.measures.measurement": ("Measurement", "Search", "Status", "Uncertainty"),
    "measurement.measures.measurements": ("Measurements",),
    "measurement.measures.options": ("MeasureOptions",),
    "measurement.surface.cost": ("Cost",),
    "measurement.surface.token_loss": ("token_cross_entropy",),
    "training.entropy_sgd": ("EntropySgd",),
    "training.registry": ("EntropySgdOptions", "SamOptions", "SgdsOptions"),
    "training.sam": ("Asam", "Sam"),
    "training.sgds": ("Sgds",),
}
"""Where the names are, for :func:`__getattr__`; a test holds it against the imports above."""


def __getattr__(name: str) -> object:
    from importlib import import_module

    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"bnsharp_cli.{module}"), name)
    raise AttributeError(f"module 'bnsharp_cli' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
