"""Copies of a network that compute the same function, and what a measure says of them."""
