"""Files in and out: checkpoints, architectures, data, and atomic writing."""
