"""Data sets, their preprocessing, labels and losses."""
