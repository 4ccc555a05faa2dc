"""The kinds of figures: each draws, writes its numbers and says in a caption what it shows."""
