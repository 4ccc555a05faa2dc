"""Factors of T_a and what they do to running statistics."""

import pytest
import torch

from bnsharp_cli.core.rescale import (
    random_factors,
    rescaled_mean,
    rescaled_variance,
    smallest_factor,
    uniform_factors,
)


def test_the_free_block_is_never_scaled(generator: torch.Generator) -> None:
    assert uniform_factors(3, 0.5).tolist() == [0.5, 0.5, 0.5, 1.0]
    drawn = random_factors(1000, 3.0, generator)
    assert drawn[-1] == 1
    assert drawn[:-1].min() >= 1e-3
    assert drawn[:-1].max() <= 1e3
    assert drawn[:-1].log10().std() > 1


def test_equation_4_puts_the_layer_into_the_ball() -> None:
    norms = torch.tensor([0.5, 3.0, 2.0])
    a0 = smallest_factor(0.01, norms)
    assert float((a0 * norms).norm()) <= 0.01
    assert a0 == pytest.approx(0.01 / (3**0.5 * 3.0))


def test_running_statistics_follow_the_input_whatever_the_bias(generator: torch.Generator) -> None:
    inputs = torch.randn(200, 4, generator=generator, dtype=torch.float64) * 3 + 1
    bias = torch.randn(4, generator=generator, dtype=torch.float64)
    scale = torch.tensor([0.01, 0.5, 2.0, 1.0], dtype=torch.float64)
    before, after = inputs + bias, scale * inputs + bias
    earlier = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    running = earlier + bias
    expected = scale * earlier + bias
    mean = rescaled_mean(running.mean(0), scale, before.mean(0), after.mean(0))
    torch.testing.assert_close(mean, expected.mean(0))
    torch.testing.assert_close(rescaled_variance(running.var(0), scale), expected.var(0))
