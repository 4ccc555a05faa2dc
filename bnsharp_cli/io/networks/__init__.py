"""Networks by name, and which one a checkpoint's weights belong to."""
