"""What the user can do about a file that is refused."""

from __future__ import annotations

COPY_AGAIN = "Copy or save the checkpoint again."
SAVE_WEIGHTS = "Save the weights alone: torch.save(model.state_dict(), FILE)."
