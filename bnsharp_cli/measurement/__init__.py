"""Loss surfaces, blocks and the measures on them."""
