"""Pure tensor mathematics: no files, no printing, no global randomness."""
