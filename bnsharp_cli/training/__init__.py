"""Training: rules, the loop, and recipes."""
