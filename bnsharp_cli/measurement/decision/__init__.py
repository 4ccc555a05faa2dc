"""Whether a number keeps a limit, given how far it is known."""
