"""Which of two networks that were measured on the same batches is sharper, and how sure that is."""
