"""The measures: one definition a file."""
