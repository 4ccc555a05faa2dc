"""φ(θ): norms by block, normalisation, tangents."""

import torch

from bnsharp_cli.core.point import inner
from bnsharp_cli.core.spheres import RowBlocks, Spheres

ROWS = {
    "filter": RowBlocks(0, torch.tensor([0, 1, 2])),
    "transposed": RowBlocks(1, torch.tensor([3, 5])),
    "group": RowBlocks(0, torch.tensor([4, 4])),
    "bias": RowBlocks(0, torch.tensor([4, 4])),
    "scalar": RowBlocks(0, torch.tensor([5])),
}


def point(generator: torch.Generator) -> dict[str, torch.Tensor]:
    shapes = {"filter": (3, 2, 2), "transposed": (4, 2, 3), "group": (2, 5), "bias": (2,), "scalar": ()}
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


def test_radii_are_the_norms_of_the_blocks_and_one_for_the_rest(generator: torch.Generator) -> None:
    theta = point(generator)
    radii = Spheres.around(theta, ROWS, 5).radii
    expected = [
        theta["filter"][0].norm(),
        theta["filter"][1].norm(),
        theta["filter"][2].norm(),
        theta["transposed"][:, 0].norm(),
        torch.cat([theta["group"].flatten(), theta["bias"]]).norm(),
        torch.tensor(1.0),
    ]
    torch.testing.assert_close(radii, torch.stack([value.double() for value in expected]))


def test_direction_lies_on_the_spheres(generator: torch.Generator) -> None:
    theta = point(generator)
    spheres = Spheres.around(theta, ROWS, 5)
    v = spheres.to_direction(spheres.random(theta, generator))
    torch.testing.assert_close(spheres.norms(v), spheres.radii)
    assert v["bias"].norm() > 0


def test_random_coordinates_are_the_same_on_every_copy(generator: torch.Generator) -> None:
    theta = point(generator)
    copy = {name: tensor * 1e-3 for name, tensor in theta.items()}
    drawn = [Spheres.around(at, ROWS, 5).random(at, torch.Generator().manual_seed(3)) for at in (theta, copy)]
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in theta)


def test_a_zero_block_stays_fixed_and_weak_ones_take_the_fallback(generator: torch.Generator) -> None:
    theta = point(generator)
    theta["filter"][1] = 0
    spheres = Spheres.around(theta, ROWS, 5)
    fallback = spheres.random(theta, generator)
    vector = {name: tensor.clone() for name, tensor in theta.items()}
    vector["filter"][2] *= 1e-12
    unit = spheres.normalise(vector, lambda: fallback, resolution=1e-9)
    torch.testing.assert_close(unit["filter"][1:], fallback["filter"][1:])
    torch.testing.assert_close(unit["filter"][0], theta["filter"][0] / theta["filter"][0].norm())
    assert not spheres.to_direction(unit)["filter"][1].any()


def test_tangents_are_orthogonal_to_every_block(generator: torch.Generator) -> None:
    theta = point(generator)
    spheres = Spheres.around(theta, ROWS, 5)
    u = spheres.random(theta, generator)
    tangent = spheres.tangent(u, point(generator))
    assert spheres.inner(u, tangent).abs().max() < 1e-14


def test_scale_multiplies_each_block_and_inner_sums_over_them(generator: torch.Generator) -> None:
    theta = point(generator)
    spheres = Spheres.around(theta, ROWS, 5)
    factors = torch.arange(1.0, 7.0, dtype=torch.float64)
    torch.testing.assert_close(spheres.norms(spheres.scale(theta, factors)), spheres.norms(theta) * factors)
    other = point(generator)
    assert abs(float(spheres.inner(theta, other).sum()) - inner(theta, other)) < 1e-12
