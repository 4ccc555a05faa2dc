"""Finds the rows of a network that scale together."""
