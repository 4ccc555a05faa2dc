"""Speed and accuracy against peers and against bare passes; see README.md."""
