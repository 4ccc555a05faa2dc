"""Networks that this process does not have as a whole: shared out among processes, or spread over several devices."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from bnsharp_cli.errors import NotMeasurableError, named

_SHARED_OUT = ("torch.distributed.fsdp", "torch.distributed.tensor", "torch.distributed._composable")
"""Where the classes come from of networks whose passes need all processes at once."""

_OF_DEEPSPEED = "ds_tensor"
"""What DeepSpeed's parameters have, of which each process holds a part."""

GATHER = (
    "Measure a whole copy: on every process call torch.distributed.checkpoint.state_dict.get_model_state_dict(model, "
    "options=StateDictOptions(full_state_dict=True)), load what it returns into a network that is not shared out, and "
    f"measure that one, with {named('memory')} small if it is large."
)


def require_whole(model: nn.Module, remedy: str = GATHER) -> None:
    """Refuse a network that is shared out among processes: a pass of this one alone would wait for the others for ever.

    Args:
        model: the network.
        remedy: what to do.

    Raises:
        NotMeasurableError: it is.
    """
    parts: list[object] = [*model.modules(), *model.parameters()]
    for part in parts:
        kinds = type(part).__mro__
        by_torch = any(f"{kind.__module__}.".startswith(f"{home}.") for kind in kinds for home in _SHARED_OUT)
        if by_torch or hasattr(part, _OF_DEEPSPEED):
            raise NotMeasurableError(
                "The network is shared out among several processes.",
                remedy,
                argument="model",
                expected="a network that this process has as a whole",
                found=type(part).__name__,
            )


def require_one_device(model: nn.Module) -> None:
    """Refuse a network that Accelerate spread over several devices, or over memory and the disk.

    Raises:
        NotMeasurableError: naming the devices.
    """
    spread = getattr(model, "hf_device_map", None)
    places = {*map(str, spread.values())} if isinstance(spread, Mapping) else set()
    hooked = any(_is_fetched(part) for part in model.modules())
    if len(places) > 1 or hooked:
        where = " and ".join(sorted(places)) or "memory that is no device's"
        raise NotMeasurableError(
            f"The network is spread over {where} (device_map).",
            f"Load it in one place: from_pretrained(…) without device_map, and choose {named('device')} here. With "
            f"{named('memory')} small, noise and critical-radius need little memory beside its weights.",
            argument="model",
            expected="a network on one device",
            found=where,
        )


def _is_fetched(part: nn.Module) -> bool:
    """Whether Accelerate brings its weights from elsewhere for every call; its hook may be one of several."""
    hook = getattr(part, "_hf_hook", None)
    return any(bool(getattr(one, "offload", False)) for one in (hook, *getattr(hook, "hooks", ())))
