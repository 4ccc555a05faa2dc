"""What the user can do about a file that is refused."""

from __future__ import annotations

COPY_AGAIN = "Copy or save the checkpoint again."
SAVE_WEIGHTS = "Save the weights alone: torch.save(model.state_dict(), FILE)."
SAVE_WHOLE = (
    "Save whole tensors: torch.save({name: tensor.full_tensor() if hasattr(tensor, 'full_tensor') else tensor "
    "for name, tensor in model.state_dict().items()}, FILE), on all processes."
)
