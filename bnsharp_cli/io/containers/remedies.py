"""What the user can do about a file that is refused."""

from __future__ import annotations

COPY_AGAIN = "Copy or save the checkpoint again."
SAVE_CALL = "torch.save(model.state_dict(), FILE)"
SAVE_WEIGHTS = f"Save the weights alone: {SAVE_CALL}."
SAVE_WHOLE = (
    "Save whole tensors: torch.save({name: tensor.full_tensor() if hasattr(tensor, 'full_tensor') else tensor "
    "for name, tensor in model.state_dict().items()}, FILE), on all processes."
)

DISTRIBUTED_TENSORS = {"torch.distributed.tensor.DTensor", "torch.distributed._tensor.api.DTensor"}
"""Tensors that FSDP2 and tensor parallelism leave in a state_dict, each process its own shards."""
