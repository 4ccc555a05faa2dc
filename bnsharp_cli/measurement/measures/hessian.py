"""The curvature of the loss: the largest eigenvalue of the Hessian between the blocks' radii, its trace and density."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from bnsharp_cli.core.lanczos import LanczosRun, lanczos
from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError, UnfitMeasureError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.batch_error import batch_error, together
from bnsharp_cli.measurement.measures.batch_parts import around
from bnsharp_cli.measurement.measures.curvature_entries import HessianOptions
from bnsharp_cli.measurement.measures.expected_passes import LANCZOS_STEPS, PROBES_AT_ONCE, steps_of
from bnsharp_cli.measurement.measures.hessian_operator import HessianOperator
from bnsharp_cli.measurement.measures.measurement import Measurement, Search, Status, Uncertainty
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.rounding import form_rounding
from bnsharp_cli.measurement.measures.spectral_density import SpectralDensity, spectral_density
from bnsharp_cli.measurement.surface.curvature_checks import require_curvature
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_ROUNDING_FACTOR, _VALUE_UNITS = 5.0, 12.0
"""As of the loss changes of the other measures."""

_EXACT = 1e-6
"""A residual below this share of the eigenvalue is that of an eigenvector, as far as anyone asks."""

_TOLD = 5
"""Of the largest eigenvalues, as many are told."""


def hessian_sharpness(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    r"""λ_max(D H D), the largest eigenvalue of the Hessian :math:`H = ∇²L(θ)` between the radii D of the blocks.

    D multiplies every number of block i by ‖θ_i‖, and θ_* by 1: it is the curvature in the coordinates u of Definition
    3.1, v = D u. T_a changes D by a and H by 1/a on both sides, so D H D and everything that is computed of it is the
    same for every copy. H itself has any eigenvalue that a copy is made for; it stands in the details as ``unscaled``,
    for comparison with what other programs say.

    The eigenvalue is that of the Lanczos method from a random vector: a lower bound that comes with its residual,
    however early it stops. The traces are those of Hutchinson (1989), with standard errors, and the densities those of
    Papyan (2020), both by curvlinops.

    Cost: a product takes 1 forward and 2 backwards. Each of the two eigenvalues takes at most 20 (``iterations``), each
    trace ``hessian_probes``, of which four share a forward and a gradient. Each of ``hessian_starts`` but the first
    takes 20 more, for the density of D H D: it is the mean over all of them, with a standard error. One more product
    tells what other samples would change, and at most four more what rounding does.

    Errors: ``bracket`` is the residual; ``rounding`` the change of ⟨x, D H D x⟩ where every last bit of θ is moved;
    ``sampling`` the standard error of ⟨x, D H_b D x⟩ over batches b, which to first order is that of the eigenvalue.

    Raises:
        UnfitMeasureError: curvlinops is not installed, or the loss cannot be differentiated twice.
        NotMeasurableError: the curvature is not finite.
    """
    library = _library()
    require_curvature(surface)
    before = surface.counter.cost
    spheres = blocks.spheres(point)
    scaled = HessianOperator(surface, point, spheres)
    starts = options.of(HessianOptions).hessian_starts
    own, other = (
        _spectrum(each, options, library, runs)
        for each, runs in ((scaled, starts), (HessianOperator(surface, point), 1))
    )
    measured = surface.counter.cost
    run, direction = own.run, scaled.direction(own.run.vector)
    _ = scaled @ run.vector
    (forms,) = scaled.forms
    rounding = _ROUNDING_FACTOR * form_rounding(surface, point, direction, forms, options.seed)
    rounding += _VALUE_UNITS * surface.roundoff * abs(run.largest)
    return Measurement(
        name="hessian",
        value=run.largest,
        status=_status(run, rounding, options.rtol),
        uncertainty=Uncertainty(rounding=rounding, sampling=batch_error(surface, forms), bracket=run.residual),
        cost=surface.counter.cost - before,
        uncertainty_cost=surface.counter.cost - measured,
        search=Search("lanczos", 1, steps_of(options, LANCZOS_STEPS), (run.largest,)),
        details={**own.to_dict(), "unscaled": {"value": other.run.largest, **other.to_dict()}},
        notes=blocks.zero_notes(spheres),
        by_batch=around(run.largest, forms),
    )


@dataclass(frozen=True)
class _Spectrum:
    """What is known of the eigenvalues of one matrix.

    Attributes:
        run: the Lanczos run.
        trace: an estimate.
        trace_error: its standard error, by random vectors and by batches; None where there is none.
        density: None where all eigenvalues are one.
        products: how many vectors were multiplied.
    """

    run: LanczosRun
    trace: float
    trace_error: float | None
    density: SpectralDensity | None
    products: int

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, without the largest eigenvalue."""
        pairs = [*zip(self.run.values.tolist(), self.run.residuals.tolist(), strict=True)]
        return {
            "largest": [{"value": value, "residual": residual} for value, residual in pairs[: -_TOLD - 1 : -1]],
            "residual": self.run.residual,
            "smallest": float(self.run.values[0]),
            "trace": self.trace,
            "trace_error": self.trace_error,
            "products": self.products,
            "density": self.density and self.density.to_dict(),
        }


def _spectrum(operator: HessianOperator, options: MeasureOptions, library: Any, starts: int) -> _Spectrum:
    """Largest eigenvalue, trace and density of one matrix; the density from as many runs as there are starts.

    Raises:
        NotMeasurableError: a product is not finite.
    """
    generator = torch.Generator().manual_seed(options.seed)
    keep, steps = operator.surface.dtype, steps_of(options, LANCZOS_STEPS)

    def run_to(tolerance: float) -> LanczosRun:
        start = torch.randn(operator.shape[0], generator=generator, dtype=torch.float64)
        return lanczos(operator.__matmul__, start, steps, tolerance, keep)

    run = run_to(options.rtol)
    if not math.isfinite(run.residual) or not math.isfinite(run.largest):
        raise NotMeasurableError(
            "The second derivatives of the loss are not finite.",
            f"Use {named('precision')} float64, or divide the loss by a constant.",
            expected="finite second derivatives",
            found=run.largest,
        )
    density = spectral_density([run, *(run_to(0.0) for _ in range(starts - 1))])
    trace, error = _trace(operator, options, library)
    return _Spectrum(run, trace, error, density, operator.products)


def _trace(operator: HessianOperator, options: MeasureOptions, library: Any) -> tuple[float, float | None]:
    """The trace by curvlinops, and its standard error; all diagonal entries where random vectors would be as many."""
    size, probes = operator.shape[0], options.of(HessianOptions).hessian_probes
    forms: list[tuple[float, ...]] = []
    total = 0.0
    exact = size <= probes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)  # curvlinops draws from torch's own generator
        for first in range(0, size if exact else probes, PROBES_AT_ONCE):
            count = min(PROBES_AT_ONCE, (size if exact else probes) - first)
            if exact:
                _ = operator @ torch.eye(size, dtype=torch.float64)[:, first : first + count]
                total += math.fsum(operator.form(number) for number in range(count))
            else:
                total += count / probes * float(library.hutchinson_trace(operator, count))
            forms += operator.forms
    factor = 1.0 if exact else 1 / probes
    by_batches = batch_error(operator.surface, [factor * math.fsum(each) for each in zip(*forms, strict=True)])
    return total, together(by_batches, 0.0 if exact else _spread(forms))


def _spread(forms: list[tuple[float, ...]]) -> float:
    """The standard error of the mean over random vectors."""
    each = [math.fsum(form) / len(form) for form in forms]
    mean = math.fsum(each) / len(each)
    return math.sqrt(math.fsum((one - mean) ** 2 for one in each) / (len(each) * (len(each) - 1)))


def _status(run: LanczosRun, rounding: float, tolerance: float) -> Status:
    size = abs(run.largest)
    if size <= rounding:
        return Status.BELOW_RESOLUTION
    if run.residual <= _EXACT * size:
        return Status.CONVERGED
    return Status.WITHIN_TOLERANCE if run.residual <= tolerance * size else Status.ITERATION_LIMIT


def _library() -> Any:
    """curvlinops, which is imported when it is needed.

    Raises:
        UnfitMeasureError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it imports itself
            return import_module("curvlinops")
    except ImportError as error:
        raise UnfitMeasureError(
            "curvlinops is not installed.",
            "Install it: pip install 'bnsharp[hessian]'.",
            argument="measure",
            expected="a measure whose library is installed",
            found="hessian",
        ) from error
