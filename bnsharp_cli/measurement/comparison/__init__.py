"""Comparisons of networks that were measured on the same batches: which is sharper, and how sure that is."""
