"""What torch is told of the simulated device: its module, its hooks and its generators."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import torch
import torch.utils.backend_registration as registration

if TYPE_CHECKING:
    from tests.simulated.device import Simulation

NAME = "simulated"
"""The device's type, as in ``torch.device("simulated")``."""

running: list[Simulation] = []


def active() -> Simulation:
    """The simulation that is running; of several the innermost."""
    if not running:
        raise RuntimeError("A tensor of the simulated device outlived its simulation.")
    return running[-1]


class _Module:
    """What torch asks of the module of a device."""

    def is_available(self) -> bool:
        return bool(running)

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return int(bool(running))

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """Nothing is drawn without a generator."""

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.zeros(1, dtype=torch.uint8)

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        """There is no state."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        return active().memory - active().live, active().memory

    def memory_reserved(self, device: Any = None) -> int:
        return active().live

    def memory_allocated(self, device: Any = None) -> int:
        return active().live

    def empty_cache(self) -> None:
        """Nothing is kept."""

    def synchronize(self, device: Any = None) -> None:
        if running:
            active().waited("synchronize")


OF_TORCH = torch.Generator
GENERATORS: weakref.WeakValueDictionary[int, Generator] = weakref.WeakValueDictionary()
"""The generators of the device, by what torch hands an operation instead of the object."""


class Generator(OF_TORCH):
    """A generator of the device; it draws what one of the CPU with the same seed draws."""

    def __init__(self) -> None:
        super().__init__()
        GENERATORS[self._cdata] = self

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The device of the tensors that it may fill."""
        return torch.device(NAME, 0)


class _OfBothDevices(type):
    """What ``torch.Generator`` is while the device is there: it makes and knows the generators of both."""

    def __call__(cls, device: Any = "cpu") -> torch.Generator:
        return Generator() if torch.device(device).type == NAME else OF_TORCH(device)

    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, OF_TORCH)


class Generators(metaclass=_OfBothDevices):
    """Stands for ``torch.Generator``."""


class _Hook(registration._DummyPrivateUse1Hook):
    """The same for the hooks of the device."""

    def is_available(self) -> bool:
        return bool(running)


KERNELS = torch.library.Library("aten", "IMPL")
"""What torch runs on the device where no simulation sees it: in other threads, and inside ``torch.tensor``."""


def _empty(size: Any, stride: Any, **options: Any) -> torch.Tensor:
    return active().made(torch.empty_strided(size, stride, dtype=options.get("dtype")))


def _copied(source: Any, target: Any, non_blocking: bool = False) -> torch.Tensor:
    active().run(torch.ops.aten.copy_.default, (target, source, non_blocking), {})
    return target  # type: ignore[no-any-return]


def _silu_backward(gradient: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """One operation as on the CPU and CUDA; torch would put it together of others, which round otherwise."""
    found: torch.Tensor = active().run(torch.ops.aten.silu_backward.default, (gradient, values), {})
    return found


def register() -> None:
    """Make torch know the device, which is not available before :func:`simulated` makes it so.

    It is done before the first backward pass of a process, which starts a thread for each device.
    """
    if torch._C._get_privateuse1_backend_name() != NAME:
        registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module(), hook=_Hook())
        KERNELS.impl("empty_strided", _empty, "PrivateUse1")
        KERNELS.impl("_copy_from", _copied, "PrivateUse1")
        KERNELS.impl("silu_backward", _silu_backward, "PrivateUse1")
