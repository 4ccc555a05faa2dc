"""What a program has set around a measurement neither reaches it nor is changed by it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from bnsharp_cli.measurement.surface import arithmetic
from bnsharp_cli.measurement.surface.arithmetic import undisturbed

CPU = torch.device("cpu")
SWITCHES = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)


def precisions() -> list[str]:
    return [switch.fp32_precision for switch in SWITCHES]


def modes() -> tuple[bool, bool, bool]:
    return torch.is_inference_mode_enabled(), torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")


def test_modes_around_do_not_reach_inside_and_come_back() -> None:
    with torch.inference_mode(), torch.autocast("cpu"):
        before = modes()
        with undisturbed(CPU):
            assert modes() == (False, True, False)
            product = torch.ones(2, 2) @ torch.ones(2, 2, requires_grad=True)
            assert product.dtype == torch.float32
            assert product.requires_grad
        assert modes() == before == (True, False, True)


def test_the_random_state_comes_back_after_an_error_too() -> None:
    def failing() -> None:
        with undisturbed(CPU):
            torch.rand(3)
            raise ValueError("inside")

    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="inside"):
        failing()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.fixture
def tf32() -> Iterator[None]:
    before = precisions()
    for switch in SWITCHES:
        switch.fp32_precision = "tf32"
    yield
    for switch, precision in zip(SWITCHES, before, strict=True):
        switch.fp32_precision = precision


def test_full_precision_on_cuda_lasts_as_long_as_the_block(tf32: None) -> None:
    def failing() -> None:
        with arithmetic._full_float32(on_cuda=True):
            seen.extend(precisions())
            raise ValueError("inside")

    seen: list[str] = []
    with pytest.raises(ValueError, match="inside"):
        failing()
    assert seen == ["ieee", "ieee"]
    assert precisions() == ["tf32", "tf32"]


def test_the_cpu_needs_no_switch(tf32: None) -> None:
    with undisturbed(CPU):
        assert precisions() == ["tf32", "tf32"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
def test_a_gpu_computes_in_full_float32_and_its_random_state_comes_back(tf32: None) -> None:
    state = torch.cuda.get_rng_state()
    with undisturbed(torch.device("cuda", torch.cuda.current_device())):
        assert precisions() == ["ieee", "ieee"]
        torch.rand(3, device="cuda")
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert precisions() == ["tf32", "tf32"]
