"""Which rows scale together."""
