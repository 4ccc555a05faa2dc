"""Everything that computes, on a device that is simulated."""
