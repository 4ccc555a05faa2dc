"""What a checkpoint says and which weights it holds."""
