"""The loss around a network along lines and in planes, whose units are those of its blocks."""
