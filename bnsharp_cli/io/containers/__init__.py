"""Files of strangers, read within bounds: every format that can hold weights, and what is in it."""
