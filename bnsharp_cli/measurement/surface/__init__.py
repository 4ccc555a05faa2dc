"""The loss surface, and how its passes run."""
