"""What a command opens, runs and delivers, without a command line."""
