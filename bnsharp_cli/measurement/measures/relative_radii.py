"""The spheres of the measures that move every block by a share of its own norm, whatever the command's partition."""

from __future__ import annotations

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.row_points import RowPoint
from bnsharp_cli.core.row_spheres import RowSpheres
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.errors import UnfitMeasureError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.relative import relative_blocks
from bnsharp_cli.measurement.measures.perturbation_entries import AS_PARTITION
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.settings import SMALL_MEMORY

AnySpheres = Spheres | RowSpheres
"""The product of spheres around a point that is held, or around one that never is."""


def relative_spheres(
    surface: LossSurface, point: Point, blocks: Blocks, relative_to: str
) -> tuple[AnySpheres, tuple[str, ...]]:
    """The product of spheres by a partition that a measure has for itself, and what a reader must know of it.

    Args:
        surface: L.
        point: θ.
        blocks: those of the command.
        relative_to: ``filter``, ``layer`` or ``element``; or ``partition`` for ``blocks``.

    Raises:
        UnfitMeasureError: every radius is zero, so that nothing would move; or blocks that memory is too small to find.
    """
    if relative_to not in (AS_PARTITION, blocks.partition):
        blocks = relative_blocks(surface.module, point, relative_to)
    elif blocks.probed and isinstance(point, RowPoint):
        raise not_searched()
    spheres = blocks.spheres_at(point)
    if blocks.zero_blocks(spheres) == blocks.relative and not blocks.free_parameters(point):
        raise nothing_moves()
    return spheres, blocks.zero_notes(spheres)


def not_searched() -> UnfitMeasureError:
    """What is said of scale-invariant blocks where there is no memory to find them in."""
    return UnfitMeasureError(
        f"Scale-invariant blocks are found with derivatives, for which {named('memory')} {SMALL_MEMORY} has no room.",
        f"Choose {named('relative_to')} filter, layer or element.",
        argument="relative_to",
        expected="filter, layer or element",
        found=AS_PARTITION,
    )


def nothing_moves() -> UnfitMeasureError:
    """What is said of weights that are all zero."""
    return UnfitMeasureError(
        "All weights that are measured are zero, and zero has no relative radius.",
        "Measure a trained network, or other parameters.",
        argument="model",
        expected="weights that are not all zero",
        found="zeros",
    )
